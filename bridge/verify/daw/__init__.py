"""Lets DAWs render their own sessions, one shot at a time; what comes of it is measured by `verify.song`."""
