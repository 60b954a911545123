"""Listening tests after ITU-R BS.1534-3 (MUSHRA): the page listeners open, and what their ratings say."""
