#!lua flags=allow-oom
-- cancel: decide, record and publish in one step.
local target, record, grace, force, even_if_over = A[3], A[4], tonumber(A[5]), A[6] == '1', A[7] == '1'

-- A scope is cancelled once; of a later cancel only a lower grace is taken over.
local function merged_with(standing)
    local good, fields = pcall(cmsgpack.unpack, standing)
    if grace < 0 or not good or type(fields) ~= 'table' or type(fields[10]) ~= 'number' then
        return standing
    end
    if fields[10] >= 0 and fields[10] <= grace then
        return standing
    end
    fields[10] = grace
    return cmsgpack.pack(fields)
end

local r = read(target)
local bans = bans_of(target)
if r and has(r, BANNED) then
    local standing = record_of(target)
    local merged = merged_with(standing)
    if merged ~= standing then
        write('c:' .. target, merged)
        flush()
        publish(key, merged)
    end
    return {'already', r[STATE], tonumber(r[FLAGS]), bans[2] or '', merged}
end
if not r and not force then
    return {'not_found'}
end
local before = r and r[STATE] or '0'
r = r or {'-', '0', '0', '', '', '', '0', '0'}
if before ~= '0' and before ~= '-' and before ~= 'L' and not is_live(r) and not bans[1] and not even_if_over then
    return {'over', before, tonumber(r[EPOCH]), r[FINISHED] or '', n}
end
stop(r)
ban(target, r, record)
put(target, r)
commit()
publish(key, record)
return {'accepted', before, tonumber(r[FLAGS]), bans[1] or '', n}
