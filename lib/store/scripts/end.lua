#!lua flags=allow-oom
-- end: the one terminal state of a run, written once.

-- The frequent case first, without the cost of common.lua: nothing is cancelled in this tree, and
-- this end cancels nothing. It decides what the long way would decide.
do
    local key, call, field, said = KEYS[1], redis.call, 's:' .. ARGV[3], ARGV[5]
    local v = (said == 'S' or said == 'P') and call('HMGET', key, 'n', 'b', field)
    if v and v[3] and (v[2] or '0') == '0' then
        local epoch, flags, life, rest = string.match(v[3], '^[rs]:(%d+):(%d+)(:[^:]*)(:.*)$')
        local is_its_own = ARGV[8] == '' or life == ':' .. ARGV[8]
        if epoch == ARGV[4] and is_its_own and bit.band(flags, 0x2000) == 0 then -- END_CANCELS
            local n = v[1] - 1
            -- without UNRESPONSIVE, KILLING and SUSPECT, with FROZEN
            flags = bit.bor(bit.band(flags, bit.bnot(0x8a0)), 0x100)
            call('HSET', key, field, said .. ':' .. epoch .. ':' .. flags .. life .. rest, 'n', n)
            if n == 0 then
                call('PEXPIRE', key, ARGV[1])
            end
            redis.pcall(ARGV[2], key .. ':watch',
                        cmsgpack.pack({1, 2, string.match(key, '{(.*)}'), ARGV[3], tonumber(epoch),
                                       said, '', flags}))
            return {'ended', said, ''}
        end
    end
end
--@common
local run, epoch, said, record, story, incarnation = A[3], tonumber(A[4]), A[5], A[6], A[7], A[8]

-- The state to record and the one that the run had ended in by itself; nil: there is no cancel.
local function outcome(r, bans)
    local by_itself = said == 'S' or said == 'E' or said == 'P'
    if not bans[1] or has(r, OBSERVE) then
        return (by_itself or bans[1]) and said or nil
    end
    if has(r, BANNED) then
        local good, fields = pcall(cmsgpack.unpack, record_of(run))
        if good and type(fields) == 'table' and fields[6] == 'deadline' then
            return 'T', by_itself and said or nil
        end
    end
    return by_itself and 'C' or said, by_itself and said or nil
end

local function cancels_children(r)
    return has(r, END_CANCELS) or (not has(r, END_LEAVES) and r[STATE] == 'E')
end

local r = read(run)
if not r or r[STATE] == '-' then
    return {'unknown'}
end
-- Two lives may hold one epoch: one began without Redis, or Redis forgot the adoption between them.
local is_another = incarnation ~= '' and incarnation ~= r[INCARNATION]
if not is_live(r) then
    if r[STATE] == 'L' and is_another and epoch == tonumber(r[EPOCH]) then
        return {'fenced', epoch} -- the one that was lost may live
    end
    return {'already', r[STATE], r[FINISHED] or ''}
end
if epoch < tonumber(r[EPOCH]) or (epoch == tonumber(r[EPOCH]) and is_another) then
    return {'fenced', tonumber(r[EPOCH])}
end
local bans = bans_of(run)
local state, finished = outcome(r, bans)
local told = false
if not state then
    if record == '' then
        return {'not_cancelled'}
    end
    ban(run, r, record) -- its agentd has stopped it by itself, and says why
    bans, state, told = {run}, said, true
end
local unresponsive = has(r, UNRESPONSIVE) and 1 or 0
r[STATE], r[EPOCH], r[FINISHED] = state, epoch, finished
r[FLAGS] = bor(band(r[FLAGS], bnot(UNRESPONSIVE + KILLING + SUSPECT)), FROZEN)
count(bans, 0, 0, 1, -unresponsive)
if bans[1] then
    if story ~= '' then
        write('e:' .. run, story)
    end
elseif record ~= '' and cancels_children(r) then
    ban(run, r, record)
    told = true
end
n = n - 1
write('n', n)
put(run, r)
commit()
if told and n > 0 then -- what lives may be below it by an id that has not started yet
    publish(key, record)
end
tell_ended(run, r)
return {'ended', state, finished or ''}
