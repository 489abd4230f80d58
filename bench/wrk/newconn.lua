-- A new connection for every request: accept, one exchange, close.
--
--   wrk -t1 -c64 -d4s --latency -s bench/wrk/newconn.lua http://127.0.0.1:8080/5B
wrk.method = "GET"
wrk.headers["Connection"] = "close"
