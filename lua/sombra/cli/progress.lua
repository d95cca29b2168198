-- SPDX-License-Identifier: MIT

---A line of progress on the standard error output, if that is a terminal.
local progress = {}

local terminal = require "sombra.terminal"

local meta = {}
meta.__index = meta

local interval = 0.1

---12345678 as "12.3M"
function progress.short(number)
  for _, unit in ipairs { { 1e12, "T" }, { 1e9, "G" }, { 1e6, "M" }, { 1e3, "k" } } do
    if number >= unit[1] then
      return ("%.1f%s"):format(number / unit[1], unit[2])
    end
  end
  return ("%d"):format(number // 1)
end

---Seconds as "1:02:03" or "2:03"
function progress.duration(seconds)
  local whole = math.ceil(seconds)
  if whole >= 3600 then
    return ("%d:%02d:%02d"):format(whole // 3600, whole // 60 % 60, whole % 60)
  end
  return ("%d:%02d"):format(whole // 60, whole % 60)
end

---The text of one moment, at most `columns` long. `count` of `unit`s make the rate; `share` (0 to 1, or nil)
---the bar and the time left.
function progress.line(state, columns)
  local rate = state.seconds > 0 and state.count / state.seconds or 0
  local tail = ("  %s %s  %s/s"):format(progress.short(state.count), state.unit, progress.short(rate))
  if not state.share then
    return (state.title .. tail):sub(1, columns)
  end
  tail = (" %3d%%"):format(math.floor(state.share * 100)) .. tail
  if state.share > 0 and state.share < 1 then
    tail = tail .. "  ETA " .. progress.duration(state.seconds / state.share * (1 - state.share))
  elseif state.share >= 1 then
    tail = tail .. (state.seconds < 60 and "  in %.1f s" or "  in " .. progress.duration(state.seconds))
      :format(state.seconds)
  end
  local room = math.min(30, columns - #state.title - #tail - 4)
  local bar = ""
  if room >= 5 then
    local full = math.floor(state.share * room)
    bar = " [" .. ("="):rep(full) .. (" "):rep(room - full) .. "]"
  end
  return (state.title .. bar .. tail):sub(1, columns)
end

function meta:draw(count, share)
  local columns = terminal.size(io.stderr) or 80
  local text = progress.line({
    title = self.title,
    unit = self.unit,
    count = count,
    share = share and math.min(share, 1),
    seconds = terminal.clock() - self.begun,
  }, columns - 1)
  io.stderr:write("\r", text, (" "):rep(self.drawn - #text))
  io.stderr:flush()
  self.drawn = #text
end

---`count` units are done, which is this share of the work; nil if nobody knows how much there is.
function meta:update(count, share)
  if not self.is_shown then
    return
  end
  local now = terminal.clock()
  if now - self.last >= interval then
    self.last = now
    self:draw(count, share)
  end
end

---The last picture, and the end of the line. `is_whole`: the work is done.
function meta:finish(count, is_whole)
  if self.is_shown and (self.drawn > 0 or is_whole) then
    if is_whole then
      self:draw(count, 1)
    end
    io.stderr:write("\n")
    self.is_shown = false
  end
end

---An error ends the line too, so that its message stands on one of its own.
function meta:__close()
  self:finish(0, false)
end

---@param title string
---@param unit string what is counted
function progress.new(title, unit)
  return setmetatable({
    title = title,
    unit = unit,
    is_shown = terminal.is_terminal(io.stderr),
    begun = terminal.clock(),
    last = terminal.clock(),
    drawn = 0,
  }, meta)
end

return progress
