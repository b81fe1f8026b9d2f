#!lua flags=allow-oom
-- lease: a script, because a plain SET is refused at maxmemory.
call('SET', key, A[4], 'PX', A[5])
return {'ok'}
