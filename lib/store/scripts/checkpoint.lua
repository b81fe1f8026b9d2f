#!lua
-- checkpoint: after the ban one more write is granted to a run, over all its epochs, then none.
local run, epoch, write_id, bytes = A[3], tonumber(A[4]), A[5], A[6]

local function grant(last)
    if bytes ~= '' then
        call('SET', key .. ':cp:' .. run, bytes, 'PX', ttl)
    end
    flush()
    return {'granted', last}
end

local r = read(run)
if not r or r[STATE] == '-' then
    return {'unknown'}
end
if epoch < tonumber(r[EPOCH]) then
    return {'fenced', tonumber(r[EPOCH])}
end
local banned = bans_of(run)[1] and not has(r, OBSERVE)
if not banned then
    if not is_live(r) then
        return {'frozen'}
    end
    if epoch > tonumber(r[EPOCH]) then -- Redis forgot the adoption; the writer before it is fenced
        r[EPOCH] = epoch
        put(run, r)
    end
    return grant(0)
end
if call('HGET', key, 'w:' .. run) == write_id then
    return grant(1)
end
if has(r, FROZEN) or not is_live(r) then
    return {'frozen'}
end
r[EPOCH], r[FLAGS] = epoch, bor(r[FLAGS], FROZEN)
put(run, r)
write('w:' .. run, write_id)
return grant(1)
