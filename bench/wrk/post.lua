-- POSTs with a body of 1 KiB; the origin reads all of it before it answers with 5 bytes.
--
--   wrk -t1 -c64 -d4s --latency -s bench/wrk/post.lua http://127.0.0.1:8080/post
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/octet-stream"
wrk.body = string.rep("0123456789abcdef", 64)
