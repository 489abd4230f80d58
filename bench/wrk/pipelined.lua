-- Pipelined GETs: 16 requests leave in one write, and wrk waits for all their responses. The depth is the
-- argument after "--".
--
--   wrk -t1 -c64 -d4s --latency -s bench/wrk/pipelined.lua http://127.0.0.1:8080/5B -- 16
local batch

function init(args)
  local depth = tonumber(args[1]) or 16
  batch = string.rep(wrk.format("GET"), depth)
end

function request()
  return batch
end
