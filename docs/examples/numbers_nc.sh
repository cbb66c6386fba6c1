# numbers/1 with netcat: a stream of two or three numbers, then its last ones once more.
echo '{"type":"start","client":"with-nc","max":3,"next":0}' | nc -N 127.0.0.1 5500
echo '{"type":"start","client":"with-nc","next":1}' | nc -N 127.0.0.1 5500
