-- SPDX-License-Identifier: MIT
-- Loops whose bodies add and remove what they walk: each step gives what is there then, right behind the step before.
local helper = require "spec.helper"

describe("a loop over what its body changes", function()
  local db, tx

  before_each(function()
    db = helper.memory()
    tx = db:begin("write")
  end)
  after_each(function() db:close() end)

  ---The first of a list in its order that is behind `last`; nil: there is none.
  local function behind(list, last, is_less)
    for _, at in ipairs(list) do
      if is_less(last, at) then return at end
    end
  end

  ---One value a step.
  local function firsts(step, state)
    return function() return (step(state)) end
  end

  local function is_less(a, b) return a < b end
  local function is_more(a, b) return a > b end

  ---Runs the loop; after each step `change` writes, and `list` says what is there, in the order of the loop.
  local function check(steps, list, less, change)
    local expected = list()[1]
    local count, limit = 0, 400
    for at in steps do
      assert.equal(expected, at)
      count = count + 1
      change(at, count)
      if count == limit then return count end
      expected = behind(list(), at, less)
    end
    assert.is_nil(expected)
    return count
  end

  ---Adds and removes by chance, for a while.
  local function changer(add, list, remove)
    return function(at, count)
      if count > 150 then return end
      for _ = 1, math.random(0, 3) do add(at) end
      local there = list()
      for _ = 1, math.random(0, 3) do
        if #there > 0 then remove(table.remove(there, math.random(#there))) end
      end
    end
  end

  for _, reverse in ipairs { false, true } do
    local less = reverse and is_more or is_less

    local function walks_nodes(label)
      for _ = 1, 40 do tx:create { "L", "M" } end
      local function list()
        local ids = {}
        for id = 1, 2000 do
          local has = tx:exists(id) and (not label or tx:has_label(id, label))
          if has then table.insert(ids, reverse and 1 or #ids + 1, id) end
        end
        return ids
      end
      local function remove(id)
        if label and math.random() < 0.5 then
          tx:remove_label(id, label)
        else
          tx:delete(id, { detach = true })
        end
      end
      assert.is_true(check(firsts(tx:nodes(label, { reverse = reverse })), list, less, changer(function()
        tx:create("L")
        local id = math.random(1, 60)
        if tx:exists(id) then tx:add_label(id, "L") end
      end, list, remove)) > 10)
    end

    it("walks nodes, reverse " .. tostring(reverse), function() walks_nodes(nil) end)
    it("walks nodes of a label, reverse " .. tostring(reverse), function() walks_nodes("L") end)

    it("walks edges, reverse " .. tostring(reverse), function()
      local a, b = tx:create("L"), tx:create("L")
      local highest = 0
      local function add() highest = math.max(highest, tx:link(a, "T", b)) end
      for _ = 1, 200 do add() end
      local function list()
        local ids = {}
        for id = 1, highest do
          if tx:edge_exists(id) then table.insert(ids, reverse and 1 or #ids + 1, id) end
        end
        return ids
      end
      assert.is_true(check(firsts(tx:edges { reverse = reverse }), list, less,
        changer(add, list, function(id) tx:delete_edge(id) end)) > 10)
    end)

    for _, direction in ipairs { "out", "into" } do
      it("walks a node's edges, " .. direction .. ", reverse " .. tostring(reverse), function()
        local hub, others = tx:create("Hub"), {}
        for i = 1, 60 do others[i] = tx:create("L") end
        local edges = {}
        local function add()
          local other = others[math.random(#others)]
          local id = direction == "out" and tx:link(hub, "T", other) or tx:link(other, "T", hub)
          edges[id] = other << 32 | id
        end
        for _ = 1, 30 do add() end
        local function list()
          local keys = {}
          for _, key in pairs(edges) do keys[#keys + 1] = key end
          table.sort(keys, less)
          return keys
        end
        local step, state = tx[direction](tx, hub, "T", { reverse = reverse })
        local function steps()
          local node, edge = step(state)
          return node and (node << 32 | edge)
        end
        assert.is_true(check(steps, list, less, changer(add, list, function(key)
          edges[key & 0xffffffff] = nil
          tx:delete_edge(key & 0xffffffff)
        end)) > 10)
      end)
    end
  end

  it("sees edges of a type that came after the first step", function()
    local a, b = tx:create("L"), tx:create("L")
    tx:link(a, "T0", b)
    local seen = {}
    for _, edge in tx:out(a) do
      seen[#seen + 1] = edge
      if #seen < 40 then tx:link(a, "T" .. #seen, b) end
    end
    assert.equal(40, #seen)
  end)

  it("stays within its limit", function()
    local a = tx:create("L")
    for _ = 1, 30 do tx:link(a, "T", tx:create("L")) end
    local count = 0
    for _, edge in tx:out(a, "T", { limit = 10 }) do
      count = count + 1
      tx:delete_edge(edge)
      tx:link(a, "T", tx:create("L"))
    end
    assert.equal(10, count)
    count = 0
    for id in tx:nodes("L", { limit = 7 }) do
      count = count + 1
      if id ~= a then tx:delete(id, { detach = true }) end
    end
    assert.equal(7, count)
  end)

  it("deletes all that it walks", function()
    local a = tx:create("L")
    for _ = 1, 600 do tx:link(a, "T", tx:create("M")) end
    for _, edge in tx:out(a) do tx:delete_edge(edge) end
    assert.equal(0, tx:degree(a, "out"))
    for id in tx:nodes("M") do tx:delete(id) end
    assert.equal(0, tx:count("M"))
    assert.equal(1, tx:count())
  end)
end)
