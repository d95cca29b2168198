-- SPDX-License-Identifier: MIT
local helper = require("spec.helper")
local json = require("sombra.json")
local plain = require("sombra.plain")
local sombra = require("sombra")

describe("sombra.json", function()
  it("keeps integers, floats, lists, maps and null apart", function()
    for text, value in pairs({
      ["1"] = 1, ["1.0"] = 1.0, ["-0.0"] = -0.0, ["0.1"] = 0.1, ["1e+300"] = 1e300,
      ["9223372036854775807"] = math.maxinteger, ["-9223372036854775808"] = math.mininteger,
      ["true"] = true, ["null"] = sombra.null, ["[]"] = sombra.list {}, ["{}"] = {},
      ['{"a":[1,{"b":null}],"c":"d"}'] = { a = { 1, { b = sombra.null } }, c = "d" },
      ['"\\u0000\\u001f\\"\\\\\\n\195\164"'] = "\0\31\"\\\n\195\164",
    }) do
      assert.equal(text, json.encode(value))
      assert.is_true(helper.same(value, json.decode(text)), text)
    end
  end)

  it("reads what others write", function()
    assert.same({ "\u{1F600}/", 100.0, {} }, json.decode(' [ "\\ud83d\\ude00\\/" , 1E2, { } ] \n'))
  end)

  it("says where text is not JSON", function()
    for _, text in ipairs { "", "{", "[1,]", "[1] x", "nul", "'a'",
      '{"a":1,"a":2}', '"\xff"', "9223372036854775808", "1e999" } do
      local value, message = json.decode(text)
      assert.is_nil(value, text)
      assert.matches("^not JSON at line %d+, column %d+: ", message)
    end
    assert.is_nil((json.decode(("["):rep(100000))))
  end)

  it("refuses what JSON has not", function()
    local deep = {}
    for _ = 1, 300 do deep = { deep } end
    local looped = {}
    looped[1] = looped
    for _, value in ipairs { 0 / 0, math.huge, "\xff", "\xed\xa0\x80", "\xc0\x80",
      print, { [2] = 1 }, { 1, a = 2 }, deep, looped } do
      assert.is_false((pcall(json.encode, value)))
    end
  end)
end)

describe("sombra.plain", function()
  it("keeps every value that can be stored (seed " .. helper.seed .. ")", function()
    math.randomseed(helper.seed)
    for _ = 1, 300 do
      local value = helper.random_value(4)
      local text = plain.encode(value)
      local back = plain.restore((json.decode(text)))
      assert.is_true(helper.same(value, back), text)
    end
    local tricky = { ["$map"] = { ["$bytes"] = 1 }, [""] = { "\xff", 0 / 0 }, ["a\0b"] = sombra.null, ["\xff"] = {} }
    assert.is_true(helper.same(tricky, plain.restore(assert(json.decode(plain.encode(tricky))))))
  end)

  it("refuses a $ that means nothing", function()
    for _, text in ipairs { '{"$x":1}', '{"$bytes":"f"}', '{"$float":"big"}', '{"$map":{}}', '{"$map":[[1,2]]}',
      '{"$map":[[]]}',
      '{"$bytes":"00","a":1}', '{"a":1,"$bytes":"00"}' } do
      assert.is_false((pcall(plain.restore, assert(json.decode(text)))), text)
    end
  end)
end)
