-- GETs as browsers send them: 350 to 1,000 bytes of head, four variants in turn (a page load, an image, a fetch()
-- with a token, a revisit with cookies), so that neither the length nor the fields of a head are the same twice.
-- If-None-Match never matches: each response keeps its body.
--
--   wrk -t1 -c64 -d4s --latency -s bench/wrk/browser.lua http://127.0.0.1:8080/1KiB
local variants = {
  {
    ["Connection"] = "keep-alive",
    ["Cache-Control"] = "max-age=0",
    ["sec-ch-ua"] = '"Chromium";v="142", "Not_A Brand";v="99"',
    ["sec-ch-ua-mobile"] = "?0",
    ["sec-ch-ua-platform"] = '"Linux"',
    ["Upgrade-Insecure-Requests"] = "1",
    ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    ["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    ["Sec-Fetch-Site"] = "none",
    ["Sec-Fetch-Mode"] = "navigate",
    ["Sec-Fetch-User"] = "?1",
    ["Sec-Fetch-Dest"] = "document",
    ["Accept-Encoding"] = "gzip, deflate, br, zstd",
    ["Accept-Language"] = "en-GB,en;q=0.9,de;q=0.8",
  },
  {
    ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    ["Accept"] = "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5",
    ["Accept-Language"] = "en-US,en;q=0.5",
    ["Accept-Encoding"] = "gzip, deflate, br, zstd",
    ["Referer"] = "https://www.example.org/articles/2026/11/a-page-with-images.html",
    ["Connection"] = "keep-alive",
    ["Sec-Fetch-Dest"] = "image",
    ["Sec-Fetch-Mode"] = "no-cors",
    ["Sec-Fetch-Site"] = "same-origin",
    ["Priority"] = "u=5, i",
  },
  {
    ["User-Agent"] = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.1 Mobile/15E148 Safari/604.1",
    ["Accept"] = "application/json",
    ["Accept-Language"] = "en-GB,en;q=0.9",
    ["Accept-Encoding"] = "gzip, deflate, br, zstd",
    ["Authorization"] = "Bearer " .. string.rep("eyJhbGciOiJFUzI1NiIs", 16),
    ["Content-Type"] = "application/json",
    ["Origin"] = "https://app.example.org",
    ["Referer"] = "https://app.example.org/",
    ["X-Requested-With"] = "XMLHttpRequest",
    ["Connection"] = "keep-alive",
  },
  {
    ["Connection"] = "keep-alive",
    ["User-Agent"] = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0",
    ["Accept"] = "*/*",
    ["Accept-Encoding"] = "gzip, deflate, br, zstd",
    ["Accept-Language"] = "fr-FR,fr;q=0.9,en;q=0.6",
    ["Cookie"] = "_ga=GA1.2.1234567890.1763700000; _gid=GA1.2.987654321.1763700000; consent=necessary%2Cstatistics; session=" .. string.rep("0123456789abcdef", 8) .. "; theme=dark",
    ["If-None-Match"] = '"never-this-one"',
    ["Referer"] = "https://www.example.org/",
    ["Sec-Fetch-Dest"] = "empty",
    ["Sec-Fetch-Mode"] = "cors",
    ["Sec-Fetch-Site"] = "same-origin",
  },
}

local requests, last = {}, 0

function init(args)
  for i, headers in ipairs(variants) do
    headers["Host"] = wrk.headers["Host"]
    requests[i] = wrk.format("GET", nil, headers)
  end
end

function request()
  last = last % #requests + 1
  return requests[last]
end
