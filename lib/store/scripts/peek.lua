#!lua flags=no-writes
-- peek: everything about one run. Changes nothing.
local run = A[3]
local r, deadline = read(run, nil, 'd:' .. run)
if not r then
    return {'unknown'}
end
local answer = with_ban({'ok', r[STATE], tonumber(r[EPOCH]), tonumber(r[FLAGS]), r[INCARNATION],
                         r[OWNER], (path_of(run))}, bans_of(run)[1])
answer[11], answer[12], answer[13] = n, r[FINISHED] or '', deadline_left(deadline)
return answer
