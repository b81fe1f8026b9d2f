#!lua flags=no-writes
-- reconcile: what must become of each of these runs? Changes nothing.
local function judge(run, epoch)
    local r = get(run)
    if not r or r[STATE] == '-' then
        return {'unknown', '0', 0, 0, '', '', ''}
    end
    local stored, nearest = tonumber(r[EPOCH]), nil
    local verdict = 'go'
    if stored < epoch then
        verdict = 'behind'
    elseif stored > epoch then
        verdict = 'fenced'
    elseif not is_live(r) then
        verdict = may_return(r) and 'behind' or 'over'
    else
        nearest = bans_of(run)[1]
        verdict = nearest and 'stop' or 'go'
    end
    return with_ban({verdict, r[STATE], stored, tonumber(r[FLAGS])}, nearest)
end

read(A[3])
local answer = {}
for i = 3, #A, 2 do
    answer[#answer + 1] = judge(A[i], tonumber(A[i + 1]))
end
return answer
