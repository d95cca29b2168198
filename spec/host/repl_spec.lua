-- SPDX-License-Identifier: MIT
local run = require("spec.host.run")

describe("the prompt", function()
  local function type_in(text, words)
    local result = run.host(words or { "-i" }, { input = text })
    return result.out:gsub("^sombra [^\n]*\n", ""), result
  end

  it("prints the values of an expression", function()
    assert.equal("> 3, \"x\"\n> \n", (type_in("1 + 2, 'x'\n")))
    assert.equal("> nil\n> \n", (type_in("nil\n")))
  end)

  it("takes the = of older versions", function()
    assert.equal("> 6\n> \n", (type_in("= 2 * 3\n")))
  end)

  it("runs a statement and prints nothing for it", function()
    assert.equal("> > 5\n> \n", (type_in("x = 5\nx\n")))
  end)

  it("asks for more until the statement is whole", function()
    assert.equal("> >> >> 1\n2\n> \n", (type_in("for i = 1, 2 do\nprint(i)\nend\n")))
    assert.equal("> >> \"a\\nb\"\n> \n", (type_in("[[a\nb]]\n")))
  end)

  it("goes on after an error", function()
    local out, result = type_in("error('bad')\nx x\n7\n")
    assert.equal("> > > 7\n> \n", out)
    assert.matches("stdin:1: bad\nstack traceback:", result.err)
    assert.matches("syntax error near 'x'", result.err)
    assert.equal(0, result.code)
  end)

  it("takes its prompts from _PROMPT and _PROMPT2", function()
    assert.equal("> ? * 1\n? \n", (type_in("_PROMPT, _PROMPT2 = '? ', '* '\nprint(\n1)\n")))
  end)

  it("follows a script with -i", function()
    local out = type_in("x\n", { "-i", "-e", "x = 'kept'" })
    assert.equal("> \"kept\"\n> \n", out)
  end)

  it("shows values as Lua that can be pasted", function()
    local value = "{ 'a\\n\\0\\xff', 1.0, 1/0, { { {} } }, ['a b'] = true, n = { 1, 2 } }"
    local expected = [[{ "a\n\x00\xff", 1.0, math.huge, { { {} } }, ["a b"] = true, n = { 1, 2 } }]]
    assert.equal("> " .. expected .. "\n> \n", (type_in(value .. "\n")))
    assert.equal("> " .. expected .. "\n> \n", (type_in(expected .. "\n")))
    assert.equal("> {\n  x = \"" .. ("y"):rep(90) .. "\",\n}\n> \n", (type_in("{ x = ('y'):rep(90) }\n")))
    local tangled = "t = {} t[1] = t t.list = require'sombra'.list {} t.none = require'sombra'.null\n"
    assert.equal("> > { <cycle>, list = sombra.list {}, none = sombra.null }\n> \n", (type_in(tangled .. "t\n")))
    assert.matches("^> <function: 0x%x+>\n", (type_in("print\n")))
  end)

  it("knows commands that begin with a dot", function()
    local made = "sombra = require'sombra'; base = sombra.open(':memory:', { create = true })\n"
      .. "base:write(function(tx) tx:link(tx:create('Poet', { name = 'x' }), 'KNOWS', tx:create()) end)\n"
    local out = type_in(made .. ".schema\n")
    assert.matches("%(:Poet%) name\n%-%[:KNOWS%]%->\n", out)
    assert.matches("label   Poet +1\ntype    KNOWS +1\n", (type_in(made .. ".tables\n")))
    assert.matches("\nedges +1\n", (type_in(made .. ".stats\n")))
    assert.matches("%.schema +labels", (type_in(".help\n")))
    assert.matches("there is no command .nothing; .help lists them", (type_in(".nothing\n")))
    assert.matches("no database is open", (type_in(".tables\n")))
    assert.equal("> \n", (type_in(".quit\n1\n")))
  end)

  it("drops the typed text on Ctrl-C, and interrupts what runs", function()
    local directory = run.temporary_directory()
    local out, code = run.shell(([[cd %s; mkfifo input output
      %s -i <input >output 2>err & child=$!
      exec 4>input 3<output
      echo "io.stdout:setvbuf('line') print'one'" >&4; while read line <&3; do case $line in *one) break; esac; done
      echo "do print 'two'; while true do end end" >&4; read line <&3; kill -INT $child
      echo "print'three'" >&4; read line <&3
      exec 4>&-; echo "$line"; cat <&3; wait $child; code=$?; cat err; exit $code]])
      :format(directory, run.absolute_binary()))
    run.remove_directory(directory)
    assert.matches("three", out)
    assert.matches("interrupted!", out)
    assert.equal(0, code)
  end)
end)
