-- SPDX-License-Identifier: MIT
-- `sombra serve`: HTTP is spoken by bash, which has /dev/tcp.
local run = require("spec.host.run")

describe("sombra serve", function()
  local directory, path

  setup(function()
    directory = run.temporary_directory()
    path = directory .. "/served.sombra"
    assert.equal(0, run.host({ "kv", "put", path, "b", "k", "v", "--create" }).code)
  end)
  teardown(function() run.remove_directory(directory) end)

  -- Serves while `script` runs in bash with $port; `answer METHOD PATH` prints the whole answer.
  local function served(script, words, signal, at)
    run.write_file(directory .. "/script", ([[
cd %s
mkfifo lines
%s serve %s --metrics 127.0.0.1:0 %s >lines 2>err & child=$!
trap 'kill -KILL $child' EXIT
exec 3<lines
read -r -t 20 address <&3
port=${address#http://127.0.0.1:}
port=${port%%/metrics}
answer() {
  exec 4<>/dev/tcp/127.0.0.1/$port
  printf '%%s %%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%%s\r\n' "$1" "$2" "$3" >&4
  tr -d '\r' <&4
  exec 4<&-
}
%s
trap - EXIT
kill -%s $child
wait $child
echo "code=$?"
cat err
rm lines
]]):format(run.quote(directory), run.quote(run.absolute_binary()), run.quote(at or path), words or "", script,
      signal or "TERM"))
    return (run.shell("bash " .. run.quote(directory .. "/script") .. " 2>&1"))
  end

  it("answers /metrics in the text format of Prometheus", function()
    local out = served("answer GET /metrics")
    assert.matches("^HTTP/1.1 200 OK\n", out)
    assert.matches("\nContent%-Type: text/plain; version=0%.0%.4", out)
    assert.matches("\n# TYPE sombra_commits_total counter\nsombra_commits_total 0\n", out, 1, true)
    assert.matches("\nsombra_commit_seconds_bucket{le=\"+Inf\"} 0\n", out, 1, true)
    assert.matches('engine="btree",path="' .. path .. '"} 1\n', out, 1, true)
    assert.matches("code=0\n$", out)
  end)

  it("sees what other processes write", function()
    local out = served(([[
answer GET /metrics | grep newest_lsn
%s kv put %s b k2 v
answer GET /metrics | grep newest_lsn]]):format(run.quote(run.absolute_binary()), run.quote(path)))
    local before, after = out:match("sombra_newest_lsn (%d+)\n.*sombra_newest_lsn (%d+)\n")
    assert.is_true(math.tointeger(after) > math.tointeger(before))
  end)

  it("opens a directory of the engine lsm read-only, beside the process that writes, unless told otherwise", function()
    local tree = directory .. "/tree"
    assert.equal(0, run.host({ "copy", path, tree, "--engine", "lsm" }).code)
    local put = ("%s kv put %s b k2 v; echo put=$?"):format(run.quote(run.absolute_binary()), run.quote(tree))
    local ask = "answer GET /metrics | grep -E 'engine=|^sombra_tables '\n"
    local out = served(ask .. put, nil, nil, tree)
    assert.matches('engine="lsm",path="' .. tree .. '"} 1\n', out, 1, true)
    assert.matches("\nsombra_tables %d\n", out)
    assert.matches("put=0\n", out)
    assert.matches("code=0\n$", out)
    local open = ([[%s -e "print(select(2, require('sombra').open('%s', { busy_timeout = 0 })).code)"]]):format(
      run.quote(run.absolute_binary()), tree)
    assert.matches("busy\n", served(open, "--write", nil, tree))
  end)

  it("answers /health, 404 and 405", function()
    local out = served([[
answer GET /health
answer GET /
answer GET /metrics/../etc
answer POST /metrics $'Content-Length: 3\r\n'
answer DELETE /health
answer HEAD /health]])
    local codes = {}
    for code in out:gmatch("HTTP/1.1 (%d+)") do
      codes[#codes + 1] = code
    end
    assert.same({ "200", "404", "404", "405", "405", "200" }, codes)
    assert.matches('\n\n{"status":"ok"}\n', out, 1, true)
    assert.matches("\nAllow: GET, HEAD\n", out, 1, true)
    local _, bodies = out:gsub('{"status":"ok"}', "")
    assert.equal(1, bodies) -- HEAD has none
    assert.matches("code=0\n$", out)
  end)

  it("ends at SIGINT as at SIGTERM, also with a connection that says nothing", function()
    assert.matches("code=0\n$", served("exec 5<>/dev/tcp/127.0.0.1/$port", nil, "INT"))
    assert.matches("code=0\n$", served("exec 5<>/dev/tcp/127.0.0.1/$port", "--readonly"))
    local verified = run.host { "verify", path }
    assert.equal(0, verified.code)
  end)

  -- A disk cannot be made to fail here: the test sets the word that a failed sync sets for all processes, `poisoned` of
  -- struct head in the mapped lock file (engine/btree/head.h).
  it("answers /health with 503 when the database refuses writes", function()
    local out = served([[
answer GET /health | tail -1
printf '\001' | dd of=served.sombra-lock bs=1 seek=88 conv=notrunc 2>&-
answer GET /health
answer GET /metrics | grep ^sombra_refuses]])
    assert.matches('^{"status":"ok"}\nHTTP/1.1 503 Service Unavailable\n', out)
    assert.matches('\n{"status":"refuses writes"}\nsombra_refuses_writes 1\n', out, 1, true)
    os.remove(path .. "-lock") -- the last close leaves it to who looks for the failure
    assert.equal(0, run.host({ "verify", path }).code)
  end)

  it("goes on when clients send nonsense or too much", function()
    local out = served([[
exec 6<>/dev/tcp/127.0.0.1/$port
head -c 40000 /dev/zero | tr '\0' 'x' >&6
exec 6<&-
answer NONSENSE x
answer GET /health]])
    assert.matches('{"status":"ok"}\n', out, 1, true)
    assert.matches("code=0\n$", out)
  end)

  it("refuses addresses that other machines reach, and what is none", function()
    for _, address in ipairs { "0.0.0.0:0", "[::]:0", "192.0.2.1:9464" } do
      local result = run.host { "serve", path, "--metrics", address }
      assert.equal(2, result.code)
      assert.matches("allow%-remote", result.err)
    end
    for _, address in ipairs { "example.org:80", "127.0.0.1:99999", "127.0.0.1:", "::1:80", "127.0.0.1:8o" } do
      local result = run.host { "serve", path, "--metrics", address }
      assert.equal(2, result.code)
      assert.matches("IP address and a port", result.err)
    end
    local result = run.host { "serve", path, "--metrics", "192.0.2.1:9464", "--allow-remote" }
    assert.equal(1, result.code)
    assert.matches("cannot listen on 192.0.2.1:9464", result.err)
  end)

  it("says what keeps it from serving", function()
    assert.equal(3, run.host({ "serve", directory .. "/nothing" }).code)
    assert.equal(2, run.host({ "serve", path, "--readonly", "--write" }).code)
    local out = served(([[%s serve %s --metrics 127.0.0.1:$port; echo "second=$?"]])
      :format(run.quote(run.absolute_binary()), run.quote(path)))
    assert.matches("Address already in use", out)
    assert.matches("second=1\n", out)
  end)
end)
