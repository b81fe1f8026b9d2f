#!lua flags=allow-oom
-- remember: find where an id lives, or note that it was cancelled before anybody had seen it.
local root = call('GET', key)
if root then
    return {'exists', root}
end
call('SET', key, A[3], 'PX', ttl)
return {'ok'}
