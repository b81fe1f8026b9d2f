#!lua
-- start: a fresh run, or the next life of a lost one.

-- The frequent case first, without the cost of common.lua: nothing is cancelled in this tree, and
-- the claimed parent lives where it is said to be. It decides what the long way would decide.
do
    local key, call, match, path = KEYS[1], redis.call, string.match, ARGV[4]
    local own, flags = 's:' .. ARGV[3], bit.band(ARGV[7], 0xfe000)
    local parent = match(path, '^.*%.(.*)$', -65 - 1) or path
    local special = ARGV[9] .. ARGV[10] .. ARGV[11] -- a deadline, a retry, a tombstone
    local v = special == '' and call('HMGET', key, 'n', 'b', own, 's:' .. parent, 'd:' .. parent)
    if v and path == '' and not (v[1] or v[2]) and tonumber(ARGV[13]) > 0 then
        call('HSET', key, own, 'r:1:' .. flags .. ':' .. ARGV[5] .. ':' .. ARGV[6] .. '::0:0',
             'm:' .. ARGV[3], ARGV[8], 'n', '1')
        return {'started', 1, flags, '', '', '', '', ''}
    end
    if v and v[4] and not v[3] and not v[5] and (v[2] or '0') == '0'
       and (#path < 255 or #string.gsub(path, '[^.]+', '') < 127) then
        -- Patterns that go forward only: one that tries again costs more than a command.
        local lives, epoch, above, children =
            match(v[4], '^([rs]:(%d+):%d+:[^:]*:[^:]*:([^:]*):%d+:)(%d+)$')
        local live, siblings = (v[1] or 0) + 1, (children or 0) + 1
        local ends = (above and above ~= '' and '.' .. above or '') .. '.' .. parent
        if lives and (above ~= '' or path == parent) and string.find('.' .. path, ends, -#ends, true)
           and not string.find(path, '..', 1, true)
           and live <= tonumber(ARGV[13]) and siblings <= tonumber(ARGV[14]) then
            call('HSET', key, 's:' .. parent, lives .. siblings, own,
                 'r:1:' .. flags .. ':' .. ARGV[5] .. ':' .. ARGV[6] .. ':' .. parent .. ':' .. epoch
                     .. ':0', 'm:' .. ARGV[3], ARGV[8], 'n', live)
            return {'started', 1, flags, '', '', '', '', ''}
        end
    end
end
--@common
local run, path, incarnation, replica, flags, meta = A[3], A[4], A[5], A[6], A[7], A[8]
local span, retry_of, tomb_id, tomb = A[9], A[10], A[11], A[12]
local max_runs, max_children = tonumber(A[13]), tonumber(A[14])
local parent = ends_of(path)

local function standing(r, deadline_above)
    local same, nearest = r[INCARNATION] == incarnation, bans_of(run, path)[1]
    if same and may_return(r) then
        revive(run, r)
        if nearest then
            stop(r)
        end
        r[OWNER] = '' -- written below
    end
    if same and is_live(r) then
        if r[OWNER] ~= replica or has(r, SUSPECT) then
            r[OWNER], r[FLAGS] = replica, band(r[FLAGS], bnot(SUSPECT))
            put(run, r)
            flush()
        end
        local answer = with_ban({'already', r[STATE], tonumber(r[EPOCH]), tonumber(r[FLAGS]),
                                 path_to_tell(run, r, path)}, nearest)
        answer[9] = deadline_left(call('HGET', key, 'd:' .. run))
        return answer
    end
    if is_live(r) then
        return {'exists', r[STATE], tonumber(r[EPOCH]), r[INCARNATION], r[OWNER]}
    end
    if same or nearest or r[STATE] ~= 'L' or not has(r, LOST_TAKEOVER) then
        return over(run, r, path)
    end
    local deadline = span ~= '' and deadline_at(span, deadline_above)
                     or call('HGET', key, 'd:' .. run) or ''
    if span ~= '' then
        write('d:' .. run, deadline)
    end
    take_over(run, r, incarnation, replica, flags, meta)
    flush()
    return {'started', tonumber(r[EPOCH]), r[FLAGS], path_to_tell(run, r, path), '', '', '',
            deadline_left(deadline ~= '' and deadline)}
end

-- A retry of a cancelled run is refused; that a run failed or was lost does not forbid another try.
local function forbids_retry()
    local nearest = bans_of(retry_of)
    if nearest[1] == retry_of then
        local good, record = pcall(cmsgpack.unpack, record_of(retry_of))
        local reason = good and type(record) == 'table' and record[6]
        if reason == 'parent_ended' or reason == 'lost' then
            return nearest[2]
        end
    end
    return nearest[1]
end

local function is_too_deep(told)
    local whole = told ~= '' and told or path
    if #whole < 2 * PATH_MAX - 1 then
        return false
    end
    local _, dots = string.gsub(string.gsub(whole, '%.%.', '.'), '%.', '')
    return dots + (told ~= '' and 1 or 2) > PATH_MAX
end

local r, deadline_above = read(run, parent, 'd:' .. parent)
if tomb_id ~= '' then
    bury(tomb_id, tomb)
    r = get(run)
end
if r and r[STATE] ~= '-' then
    return standing(r, deadline_above)
end

local nearest = r and bans_of(run)[1]
local fresh, made, p = draft(run, path, 1, flags, incarnation, replica)
nearest = nearest or bans_of(run, path)[1]
if not nearest and retry_of ~= '' then
    nearest = forbids_retry()
end
if nearest and not has(fresh, OBSERVE) then
    return with_ban({'refused'}, nearest)
end
if n >= max_runs then
    return {'full', 'runs'}
end
if p and tonumber(p[CHILDREN]) >= max_children then
    return {'full', 'children'}
end
local told = path_to_tell(run, fresh, path)
if is_too_deep(told) then
    return {'full', 'path'}
end
local deadline = ''
if span ~= '' or deadline_above then
    deadline = deadline_at(span, deadline_above)
end
enter(run, fresh, made, meta, deadline)
local answer = with_ban({'started', 1, fresh[FLAGS], told}, nearest)
answer[8] = deadline_left(deadline ~= '' and deadline)
return answer
