-- GETs of the URL's path with 4,096 different queries in turn, so that a proxy that places requests by their target places
-- them on all servers.
--
--   wrk -t1 -c64 -d4s --latency -s bench/wrk/keys.lua http://127.0.0.1:8080/5B
local requests, last = {}, 0

function init(args)
  for i = 1, 4096 do
    requests[i] = wrk.format("GET", wrk.path .. "?key=" .. i)
  end
end

function request()
  last = last % #requests + 1
  return requests[last]
end
