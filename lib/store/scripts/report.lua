#!lua flags=allow-oom
-- report: how far the stop of each run has come; every phase is set once.
local changed = {}

local function delta(news, bit_of)
    return band(news, bit_of) ~= 0 and 1 or 0
end

local function note(run, r, news, bans)
    local before = r[STATE]
    if bans[1] then
        stop(r)
        if news ~= 0 then
            count(bans, delta(news, DELIVERED), delta(news, ACKNOWLEDGED), delta(news, GONE),
                  delta(news, UNRESPONSIVE))
        end
    end
    if news ~= 0 or before ~= r[STATE] then
        r[FLAGS] = bor(r[FLAGS], news)
        put(run, r)
        changed[#changed + 1] = {run, tonumber(r[EPOCH]), r[FLAGS]}
    end
end

local function take(run, epoch, bits)
    local r = get(run)
    if not r or r[STATE] == '-' then
        return {'unknown', '0', 0, 0}
    end
    local verdict = 'ok'
    if tonumber(epoch) ~= tonumber(r[EPOCH]) then
        verdict = 'fenced'
    elseif is_live(r) then
        note(run, r, band(bits, PHASES - GONE, bnot(r[FLAGS])), bans_of(run))
    elseif r[STATE] == 'L' and band(bits, GONE) ~= 0 then
        note(run, r, band(GONE, bnot(r[FLAGS])), bans_of(run))
    else
        verdict = 'over'
    end
    return {verdict, r[STATE], tonumber(r[EPOCH]), tonumber(r[FLAGS])}
end

read(A[3])
local answer = {}
for i = 3, #A, 3 do
    answer[#answer + 1] = take(A[i], A[i + 1], A[i + 2])
end
if changed[1] then
    flush()
    publish(key .. ':watch', cmsgpack.pack({1, 3, match(key, '{(.*)}'), changed}))
end
return answer
