-- Shared by every script of a tree; docs/PROTOCOL.md sections 1 to 3 say what is decided.
--
-- A run's record is the array of the fields of `s:<run>`, numbers still as text: what was read is
-- written back without a conversion. What is written is gathered in `todo` and goes as one HSET.
local key, A = KEYS[1], ARGV
local call, concat, match, tonumber = redis.call, table.concat, string.match, tonumber
local band, bor, bnot = bit.band, bit.bor, bit.bnot
local ttl, publish_verb = A[1], A[2]

local STATE, EPOCH, FLAGS, INCARNATION, OWNER, PARENT, PARENT_EPOCH, CHILDREN, FINISHED =
    1, 2, 3, 4, 5, 6, 7, 8, 9
local BANNED, DELIVERED, ACKNOWLEDGED, UNRESPONSIVE, GONE, KILLING = 0x1, 0x2, 0x4, 0x20, 0x40, 0x80
local FROZEN, ORPHAN, PARENT_GONE, SUSPECT, LATE = 0x100, 0x200, 0x400, 0x800, 0x1000
local END_CANCELS, END_LEAVES, LOST_TAKEOVER, LOST_CONTINUE = 0x2000, 0x4000, 0x8000, 0x10000
local OBSERVE, UNPROTECTED, PHASES, POLICY = 0x20000, 0x80000, 0xfe, 0xfe000
local PATH_MAX = 128

local memo, todo = {}, {}
local n, b = 0, 0 -- live runs; bans and x: marks
local existed, expires = false, false -- was the key there? has it a TTL?

local function parse(value)
    if not value then
        return false
    end
    local r = {match(value, '^(.):(%d+):(%d+):([^:]*):([^:]*):([^:]*):(%d+):(%d+):?(%a?)$')}
    if r[FINISHED] == '' then
        r[FINISHED] = nil
    end
    return r[STATE] and r or false
end

local function get(id)
    local r = memo[id]
    if r == nil then
        r = parse(call('HGET', key, 's:' .. id))
        memo[id] = r
    end
    return r
end

-- Reads `n`, `b`, the records of two runs and one more field in one go.
local function read(first, second, field)
    local v = call('HMGET', key, 'n', 'b', 's:' .. first, 's:' .. (second or first), field or 'n')
    existed = (v[1] or v[2]) and true
    n, b = tonumber(v[1] or 0), tonumber(v[2] or 0)
    expires = existed and n == 0
    if second then
        memo[second] = parse(v[4])
    end
    memo[first] = parse(v[3])
    return memo[first], v[5]
end

local function write(field, value)
    local at = #todo
    todo[at + 1], todo[at + 2] = field, value
end

local function put(id, r)
    memo[id] = r
    write('s:' .. id, concat(r, ':'))
end

local function flush()
    if todo[1] then
        call('HSET', key, unpack(todo))
        todo = {}
    end
end

local function has(r, bits)
    return band(r[FLAGS], bits) ~= 0
end

local function is_live(r)
    return r[STATE] == 'r' or r[STATE] == 's'
end

-- A hint must never undo what was decided: one that an ACL refuses is left to reconcile.
local function publish(channel, message)
    redis.pcall(publish_verb, channel, message)
end

local function now_ms()
    local t = call('TIME')
    return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Was this child started in an epoch that a takeover lost?
local function died_with(r, id, up)
    if not has(up, LOST_TAKEOVER) or has(up, BANNED) then
        return false
    end
    local mark = call('HGET', key, 'x:' .. id)
    return mark and tonumber(r[PARENT_EPOCH]) <= tonumber(match(mark, '^%d+'))
end

-- Appends every ban at or above `id` to `found`, nearest first.
local function climb(id, found, seen)
    local r = get(id)
    for _ = 1, PATH_MAX do
        if not r or seen[id] then
            return
        end
        seen[id] = true
        if has(r, BANNED) then
            found[#found + 1] = id
        end
        local above = r[PARENT]
        local up = above ~= '' and get(above)
        if up and died_with(r, above, up) then
            found[#found + 1] = above
        end
        id, r = above, up
    end
end

-- Every ban on the stored path; where there is none, on what the caller claims is above the run.
local function bans_of(run, claimed)
    local found = {}
    if b == 0 then
        return found
    end
    local seen = {}
    climb(run, found, seen)
    if not found[1] and claimed and claimed ~= '' then
        local ids = {}
        for id in string.gmatch(claimed, '[^.]+') do
            ids[#ids + 1] = id
        end
        for i = #ids, 1, -1 do
            climb(ids[i], found, seen)
            if found[1] then
                break
            end
        end
    end
    return found
end

local function record_of(id)
    local record = call('HGET', key, 'c:' .. id)
    if not record then
        local mark = call('HGET', key, 'x:' .. id)
        record = mark and match(mark, '^%d+:(.*)$') or ''
    end
    return record
end

-- Appends BAN (id, record, id) to an answer.
local function with_ban(answer, id)
    local at = #answer
    local record = id and record_of(id) or ''
    answer[at + 1], answer[at + 2], answer[at + 3] = id or '', record, id or ''
    return answer
end

local function over(run, r, claimed)
    return with_ban({'over', r[STATE], tonumber(r[EPOCH]), r[FINISHED] or ''},
                    bans_of(run, claimed)[1])
end

local function deadline_left(deadline)
    return deadline and tonumber(deadline) - now_ms() or ''
end

-- Root to run, by stored parents.
local function path_of(run)
    local ids, seen, at = {}, {}, PATH_MAX + 2
    local id = run
    while id ~= '' and not seen[id] and at > 1 do
        seen[id] = true
        at = at - 1
        ids[at] = id
        local r = get(id)
        id = r and r[PARENT] or ''
    end
    return concat(ids, '.', at, PATH_MAX + 1), PATH_MAX + 2 - at
end

-- Adds to delivered, acknowledged, stopped and unresponsive of every ban in the list.
local function count(bans, delivered, acknowledged, stopped, unresponsive)
    for _, id in ipairs(bans) do
        local field = 't:' .. id
        local had = memo[field] or call('HGET', key, field) or '0:0:0:0'
        local d, a, s, u = match(had, '^(%d+):(%d+):(%d+):(%d+)$')
        had = concat({(d or 0) + delivered, (a or 0) + acknowledged, (s or 0) + stopped,
                      math.max(0, (u or 0) + unresponsive)}, ':')
        memo[field] = had
        write(field, had)
    end
end

local function stop(r)
    if r[STATE] == 'r' and not has(r, OBSERVE) then
        r[STATE] = 's'
    end
end

-- Marks the run as the target of an accepted cancel. The caller writes and publishes.
local function ban(id, r, record)
    r[FLAGS] = bor(r[FLAGS], BANNED)
    b = b + 1
    write('b', b)
    write('c:' .. id, record)
    write('t:' .. id, '0:0:0:0')
end

-- Carries out what was gathered in `todo` for a tree that now has `n` live runs.
local function commit()
    flush()
    if n == 0 then
        call('PEXPIRE', key, ttl)
        expires = true
    end
end

local function tell_ended(run, r)
    publish(key .. ':watch', cmsgpack.pack({1, 2, match(key, '{(.*)}'), run, tonumber(r[EPOCH]),
                                            r[STATE], r[FINISHED] or '', tonumber(r[FLAGS])}))
end

-- A tombstone that the caller found elsewhere for this id is obeyed here, too.
local function bury(id, record)
    local r = get(id)
    if r and has(r, BANNED) then
        return
    end
    r = r or {'-', '0', '0', '', '', '', '0', '0'}
    stop(r)
    ban(id, r, record)
    put(id, r)
    commit()
    publish(key, record)
end

-- Claimed ids that nobody has stored are taken as if they were: placeholders that hang where they
-- are claimed to be, so that their later start, ban or tombstone is found. Not written yet.
local function suppose(path)
    local made, above = {}, ''
    for id in string.gmatch(path, '[^.]+') do
        local r = get(id)
        if not r then
            memo[id] = {'-', '0', '0', '', '', above, '0', '0'}
            made[#made + 1] = id
        elseif r[STATE] == '-' and r[PARENT] == '' and above ~= '' then
            r[PARENT] = above
            made[#made + 1] = id
        end
        above = id
    end
    return made
end

-- The last two ids of a claimed path. Anchored patterns: others try again at every byte.
local function ends_of(path)
    local grandparent, parent = match(path, '^.*%.([^.]*)%.([^.]+)$')
    if not parent then
        grandparent, parent = match(path, '^([^.]*)%.([^.]+)$')
    end
    return parent or path, grandparent or ''
end

-- The stored path where it is not what the caller claims, else ''.
local function path_to_tell(run, r, path)
    local parent, grandparent = ends_of(path)
    if r[PARENT] == parent and not string.find(path, '..', 1, true) then
        local p = parent ~= '' and get(parent)
        if not p or p[PARENT] == grandparent then
            return ''
        end
    end
    return (path_of(run))
end

-- What a fresh run would be stored as; in `memo` from now on, so that bans_of() sees it. Also the
-- claimed ids to be written with it.
local function draft(run, path, epoch, flags, incarnation, owner)
    local had, cut = memo[run], string.find(path, '..', 1, true)
    local parent = ends_of(path)
    local p = parent ~= '' and memo[parent]
    flags = band(flags, POLICY)
    if cut then
        local hidden = get(match(path, '%.%.([^.]+)') or '')
        flags = (hidden and hidden[STATE] ~= '-') and flags or bor(flags, UNPROTECTED)
    end
    local made = {}
    if parent ~= '' and (not p or p[STATE] == '-') then
        made = suppose(path)
        p = memo[parent]
    elseif p and not is_live(p) then
        flags = bor(flags, ORPHAN)
    end
    if not existed and path ~= '' then
        flags = bor(flags, PARENT_GONE)
    end
    if had and has(had, BANNED) then
        flags = bor(flags, BANNED)
    end
    local r = {'r', epoch, flags, incarnation, owner, parent, p and p[EPOCH] or '0',
               had and had[CHILDREN] or '0'}
    memo[run] = r
    return r, made, p
end

-- Now minus nothing given, never later than the parent's; '' for none.
local function deadline_at(span, above)
    local at = span ~= '' and now_ms() + span
    above = above and tonumber(above)
    if at and above then
        at = math.min(at, above)
    end
    at = at or above
    return at and string.format('%.0f', at) or ''
end

local function one_more_lives()
    if expires then
        call('PERSIST', key)
        expires = false
    end
    n = n + 1
    write('n', n)
end

-- Writes a run that lives from now on.
local function enter(run, r, made, meta, deadline)
    local p = r[PARENT] ~= '' and memo[r[PARENT]]
    if p then
        p[CHILDREN] = p[CHILDREN] + 1
        put(r[PARENT], p)
    end
    for _, id in ipairs(made) do
        if id ~= run and id ~= r[PARENT] then
            put(id, memo[id])
        end
    end
    put(run, r)
    write('m:' .. run, meta)
    if deadline ~= '' then
        write('d:' .. run, deadline)
    end
    one_more_lives()
    flush()
end

-- A lost run lives again: with another life of its client, or with the one it had.
local function revive(run, r)
    r[STATE], r[FINISHED] = 'r', nil
    r[FLAGS] = band(r[FLAGS], bnot(PHASES + FROZEN + SUSPECT))
    one_more_lives()
    put(run, r)
end

-- on_lost = continue: was it lost, and may its own life go on with it?
local function may_return(r)
    return r[STATE] == 'L' and has(r, LOST_CONTINUE) and not has(r, GONE)
end

-- on_lost = takeover: the next life, with what it asked for now.
local function take_over(run, r, incarnation, owner, flags, meta)
    r[EPOCH], r[INCARNATION], r[OWNER] = r[EPOCH] + 1, incarnation, owner
    r[FLAGS] = bor(band(r[FLAGS], bnot(POLICY + LATE)), band(flags, POLICY), LOST_TAKEOVER)
    if meta ~= '' then
        write('m:' .. run, meta)
    end
    revive(run, r)
end
