-- wrk sends the bytes of the file that is its first argument, as they are, over and over, and reports as JSON.
-- The second argument is the number of requests in the file.
-- wrk.request is replaced, not a global `request` defined: so the bytes are fetched once and no Lua runs in between.
local pipelined = 1

function wrk.init(args)
   pipelined = tonumber(args[2])
   local file = assert(io.open(args[1], "rb"))
   local bytes = file:read("*a")
   file:close()
   wrk.request = function() return bytes end
end

-- wrk keeps one latency for a whole pipelined batch, but takes percentiles as if it had one for each request.
function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      '\n{"requests": %d, "duration_us": %d, "bytes": %d, "p50_us": %d, "p99_us": %d, ' ..
      '"errors": {"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}\n',
      summary.requests, summary.duration, summary.bytes, latency:percentile(50 / pipelined), latency:percentile(99 / pipelined),
      errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
