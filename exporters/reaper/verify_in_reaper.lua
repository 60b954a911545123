
-- What stands above belongs to this project; all below is the same in every export.

-- REAPER adds Bypass, Wet and Delta to the parameters of every effect: one that has no others was not loaded.
local OWN_PARAMETERS = 3
-- "File: Render project, using the most recent render settings, auto-close render dialog"
local RENDER_AND_CLOSE = 42230
local TITLE = "Mixbridge"
local YES_OR_NO, YES = 4, 6

local function say(text)
  reaper.ShowConsoleMsg(text .. "\n")
end

-- Tracks of the open project by their identifiers, in capitals.
local function open_tracks()
  local found = {}
  for index = 0, reaper.CountTracks(0) - 1 do
    local track = reaper.GetTrack(0, index)
    found[string.upper(reaper.GetTrackGUID(track))] = track
  end
  return found
end

-- Places of a track's effects by their identifiers, in capitals.
local function open_effects(track)
  local found = {}
  for index = 0, reaper.TrackFX_GetCount(track) - 1 do
    local identifier = reaper.TrackFX_GetFXGUID(track, index)
    if identifier then found[string.upper(identifier)] = index end
  end
  return found
end

-- Why an effect does not do its work, or nil.
local function fault_of(track, index, effect)
  if reaper.TrackFX_GetOffline(track, index) then return "is offline" end
  local known, file = reaper.TrackFX_GetNamedConfigParm(track, index, "fx_ident")
  local parameters = reaper.TrackFX_GetNumParams(track, index)
  if parameters <= OWN_PARAMETERS or parameters < effect.parameters or (known and file == "") then
    return "was not loaded: " .. effect.remedy
  end
  local bypassed = not reaper.TrackFX_GetEnabled(track, index)
  if bypassed and not effect.bypassed then return "is bypassed" end
  if effect.bypassed and not bypassed then return "is at work, but was written bypassed" end
  return nil
end

-- Says in the console what became of every effect and returns what is wrong, one line each.
local function check(tracks)
  local faults = {}
  local function fault(text)
    faults[#faults + 1] = text
    say("  MISSING: " .. text)
  end
  for _, expected in ipairs(session.tracks) do
    local track = expected.master and reaper.GetMasterTrack(0) or tracks[expected.guid]
    if not track then
      fault("track '" .. expected.name .. "' is not in this project")
    else
      local places, count = open_effects(track), reaper.TrackFX_GetCount(track)
      say(expected.name .. ": " .. count .. " effects, " .. #expected.effects .. " written")
      for _, effect in ipairs(expected.effects) do
        local index = places[effect.guid]
        local reason = index and fault_of(track, index, effect) or not index and "is not in the chain" or nil
        if reason then
          fault(expected.name .. ": " .. effect.name .. " " .. reason)
        else
          local _, name = reaper.TrackFX_GetFXName(track, index, "")
          say("  " .. effect.name .. ": loaded as " .. name)
        end
      end
    end
  end
  return faults
end

-- The master, from 0 to the end of the session and not a sample more, as 32-bit float.
local function render_numbers()
  return {
    RENDER_SETTINGS = 0,
    RENDER_BOUNDSFLAG = 0,
    RENDER_STARTPOS = 0,
    RENDER_ENDPOS = session.length_s,
    RENDER_CHANNELS = 2,
    RENDER_SRATE = session.sample_rate_hz,
    RENDER_TAILFLAG = 0,
    RENDER_ADDTOPROJ = 0,
    RENDER_DITHER = 0,
    RENDER_NORMALIZE = 0,
  }
end

local function render_texts(folder)
  return {
    RENDER_FILE = folder,
    RENDER_PATTERN = session.render_name,
    RENDER_FORMAT = session.render_format,
    RENDER_FORMAT2 = "",
  }
end

-- Set and return what was set before.
local function set_numbers(values)
  local before = {}
  for name, value in pairs(values) do
    before[name] = reaper.GetSetProjectInfo(0, name, 0, false)
    reaper.GetSetProjectInfo(0, name, value, true)
  end
  return before
end

local function set_texts(values)
  local before = {}
  for name, value in pairs(values) do
    local _, text = reaper.GetSetProjectInfo_String(0, name, "", false)
    before[name] = text
    reaper.GetSetProjectInfo_String(0, name, value, true)
  end
  return before
end

-- Renders into the folder with our settings, and puts the user's own back whatever happens.
local function render(folder)
  local numbers = set_numbers(render_numbers())
  local texts = set_texts(render_texts(folder))
  local done, message = pcall(reaper.Main_OnCommand, RENDER_AND_CLOSE, 0)
  set_texts(texts)
  set_numbers(numbers)
  return done, message
end

local separator = package.config:sub(1, 1)

-- A path as an argument of a command line.
local function quoted(path)
  if separator == "\\" then return '"' .. path .. '"' end
  return "'" .. path:gsub("'", "'\\''") .. "'"
end

local function main()
  reaper.ClearConsole()
  local _, project = reaper.EnumProjects(-1, "")
  local tracks = open_tracks()
  local ours = false
  for _, expected in ipairs(session.tracks) do ours = ours or tracks[expected.guid] ~= nil end
  if not project or project == "" or not ours then
    reaper.ShowMessageBox("Open " .. session.project .. " in REAPER first, then run this script again.", TITLE, 0)
    return
  end
  say(session.project .. " in REAPER " .. reaper.GetAppVersion())
  local faults = check(tracks)
  if #faults > 0 then
    local text = table.concat(faults, "\n") .. "\n\nRender all the same?"
    if reaper.ShowMessageBox(text, TITLE .. ": " .. #faults .. " faults", YES_OR_NO) ~= YES then return end
  end
  local folder = project:match("^(.*)[/\\][^/\\]*$") or "."
  local file = folder .. separator .. session.render_name .. ".wav"
  -- A render of before would make REAPER ask whether to replace it.
  if reaper.file_exists(file) then os.remove(file) end
  local done, message = render(folder)
  if not done or not reaper.file_exists(file) then
    local reason = done and "it was stopped, or the folder cannot be written" or tostring(message)
    say("Not rendered: " .. reason)
    reaper.ShowMessageBox("REAPER wrote no " .. file .. ": " .. reason .. ".", TITLE, 0)
    return
  end
  local command = "mixbridge verify " .. quoted(project) .. " --render " .. quoted(file)
  say("Rendered. To compare it with the match:\n\n  " .. command)
  local summary = #faults == 0 and "Every effect was loaded." or #faults .. " faults; the console lists them."
  reaper.ShowMessageBox(summary .. "\n\nTo compare the render with the match:\n\n" .. command, TITLE, 0)
end

main()
