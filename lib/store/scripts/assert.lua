#!lua flags=allow-oom
-- assert: adopt a run into another life of its client, or say again after a loss that it lives.
local run, path, incarnation, replica, flags, meta = A[3], A[4], A[5], A[6], A[7], A[8]
local span, epoch, mode, token_hash, tomb_id, tomb = A[9], tonumber(A[10]), A[11], A[12], A[13], A[14]
local parent = ends_of(path)

local function carry_on(r, nearest, deadline)
    local answer = {nearest and 'stop' or 'adopted', tonumber(r[EPOCH]), tonumber(r[FLAGS]),
                    path_to_tell(run, r, path)}
    if nearest then
        with_ban(answer, nearest)
    end
    answer[#answer + 1] = deadline_left(deadline)
    return answer
end

-- A live run in a banned scope is recorded as stopping, never refused.
local function settle(r, nearest)
    if nearest then
        stop(r)
    end
    put(run, r)
    flush()
    return carry_on(r, nearest, call('HGET', key, 'd:' .. run))
end

local function is_unauthorized()
    if token_hash == '' then
        return false
    end
    local good, known = pcall(cmsgpack.unpack, call('HGET', key, 'm:' .. run) or '')
    return not good or type(known) ~= 'table' or known[6] ~= token_hash
end

local function adopt(r)
    if not r or r[STATE] == '-' then
        return {'unknown'}
    end
    local nearest = bans_of(run, path)[1]
    local again = r[STATE] == 'L' and has(r, LOST_TAKEOVER) and not nearest
    if not is_live(r) and not again then
        return over(run, r, path)
    end
    local mine = is_live(r) and r[INCARNATION] == incarnation -- the answer to the first try was lost
    if tonumber(r[EPOCH]) ~= epoch and not mine then
        return {'fenced', tonumber(r[EPOCH]), r[OWNER]}
    end
    if is_unauthorized() then
        return {'unauthorized'}
    end
    if again then
        take_over(run, r, incarnation, replica, flags, meta)
    elseif not mine then
        r[EPOCH] = r[EPOCH] + 1
    end
    r[INCARNATION], r[OWNER] = incarnation, replica
    r[FLAGS] = band(r[FLAGS], bnot(SUSPECT))
    return settle(r, nearest)
end

-- It has taken over the lost one, and Redis has forgotten that.
local function is_later_life(r, nearest)
    return r[STATE] == 'L' and has(r, LOST_TAKEOVER) and not nearest and tonumber(r[EPOCH]) < epoch
end

local function come_back(r, nearest)
    local mine = r[INCARNATION] == incarnation
    if is_later_life(r, nearest) then
        take_over(run, r, incarnation, replica, flags, meta)
    elseif not is_live(r) then
        if r[STATE] == 'L' and not mine and tonumber(r[EPOCH]) == epoch then
            return {'fenced', epoch, r[OWNER]} -- the one that was lost may live
        end
        if not (mine and may_return(r)) then
            return over(run, r, path)
        end
        revive(run, r)
    elseif not mine and tonumber(r[EPOCH]) >= epoch then
        return {'fenced', tonumber(r[EPOCH]), r[OWNER]}
    end
    r[EPOCH] = math.max(r[EPOCH], epoch)
    r[INCARNATION], r[OWNER] = incarnation, replica
    r[FLAGS] = band(r[FLAGS], bnot(SUSPECT))
    if nearest and r[STATE] == 'r' then
        r[FLAGS] = bor(r[FLAGS], LATE)
    end
    return settle(r, nearest)
end

local r, deadline_above = read(run, parent, 'd:' .. parent)
if tomb_id ~= '' then
    bury(tomb_id, tomb)
    r = get(run)
end
if mode == 'adopt' then
    return adopt(r)
end
if r and r[STATE] ~= '-' then
    return come_back(r, bans_of(run, path)[1])
end
local nearest = r and bans_of(run)[1]
local fresh, made = draft(run, path, epoch, flags, incarnation, replica)
nearest = nearest or bans_of(run, path)[1]
if nearest then
    fresh[FLAGS] = bor(fresh[FLAGS], LATE)
    stop(fresh)
end
local deadline = (span ~= '' or deadline_above) and deadline_at(span, deadline_above) or ''
enter(run, fresh, made, meta, deadline)
return carry_on(fresh, nearest, deadline ~= '' and deadline)
