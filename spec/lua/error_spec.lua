-- SPDX-License-Identifier: MIT
local helper = require "spec.helper"

describe("an error object", function()
  local db, err

  before_each(function()
    db = helper.memory()
    err = helper.raises("not_found", db.write, db, function(tx)
      tx:set(12345, { a = 1 })
    end)
  end)
  after_each(function() db:close() end)

  it("has a code, a message, a place and a trace", function()
    assert.equal("not_found", err.code)
    assert.truthy(#err.message > 0)
    assert.truthy(err.where:match("^.*error_spec%.lua:%d+: $"))
    assert.is_false(err.retryable)
    assert.truthy(err.trace:find("stack traceback", 1, true))
    assert.truthy(err.trace:find("error_spec.lua", 1, true))
    assert.is_nil(err.cause)
  end)

  it("names what was not there", function()
    assert.truthy(err.message:find("12345", 1, true))
  end)

  it("reads as file:line: message [code]", function()
    assert.equal(err.where .. err.message .. " [not_found]", tostring(err))
  end)

  it("joins with text on either side", function()
    assert.equal("x: " .. tostring(err), "x: " .. err)
    assert.equal(tostring(err) .. "!", err .. "!")
    assert.equal(tostring(err) .. tostring(err), err .. err)
    assert.equal(tostring(err) .. "1", err .. 1)
  end)

  it("hides its metatable and bears being changed", function()
    assert.is_false(getmetatable(err))
    err.message, err.code, err.where = nil, 7, {}
    assert.equal(" []", tostring(err))
  end)

  it("can be raised again unchanged", function()
    local ok, again = pcall(db.write, db, function() error(err) end)
    assert.is_false(ok)
    assert.equal(err, again)
  end)

  it("is retryable when it is busy", function()
    local tx <close> = db:begin("write")
    assert.is_true(tx:is_open())
    local busy = helper.raises("busy", db.begin, db, "write")
    assert.is_true(busy.retryable)
  end)
end)
