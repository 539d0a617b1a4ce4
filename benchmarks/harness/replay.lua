-- wrk sends the bytes of the file that is its first argument, as they are, over and over, and reports as JSON.
-- With a second argument every request has another number in the place of that text.
-- Without it, wrk.request is replaced and no global `request` defined: the bytes are fetched once, and no Lua runs
-- between requests.
function wrk.init(args)
   local file = assert(io.open(args[1], "rb"))
   local bytes = file:read("*a")
   file:close()
   wrk.request = function() return bytes end
   if args[2] then vary(bytes, args[2]) end
end

function vary(bytes, text)
   local first, last = assert(bytes:find(text, 1, true))
   local before, after, number = bytes:sub(1, first - 1), bytes:sub(last + 1), 0
   request = function()
      number = number + 1
      return before .. string.format("%016x", number) .. after
   end
end

-- wrk keeps one latency for each batch of pipelined requests, but takes percentiles as if it had one for each
-- request: beyond a certain percentile it finds nothing and says 0.  That one is looked for here; it is where the
-- latencies that were kept end.
local function last_percentile(latency)
   local low, high = 0, 100
   if latency:percentile(high) > 0 then return high end
   for _ = 1, 30 do
      local middle = (low + high) / 2
      if latency:percentile(middle) > 0 then low = middle else high = middle end
   end
   return low
end

function done(summary, latency, requests)
   local errors = summary.errors
   local last = last_percentile(latency)
   io.write(string.format(
      '\n{"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, ' ..
      '"errors": {"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}\n',
      summary.requests, summary.duration, latency:percentile(0.50 * last), latency:percentile(0.99 * last),
      errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
