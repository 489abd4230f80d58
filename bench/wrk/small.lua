-- A plain GET of the URL's path, with nothing but Host in the head. No request() function, so that wrk sends one
-- prepared buffer and costs as little as it can.
--
--   wrk -t1 -c64 -d4s --latency -s bench/wrk/small.lua http://127.0.0.1:8080/5B
wrk.method = "GET"
