// A counter/1 server as one would write it in Go: a goroutine a connection, buffered reads, an atomic
// total in memory. With -answers=gathered the answers to all that has been read go in one write.
package main

import (
	"bufio"
	"encoding/binary"
	"flag"
	"io"
	"log"
	"math/bits"
	"net"
	"strconv"
	"sync/atomic"
)

const (
	requestSize = 16
	prime1      = 0x9E3779B185EBCA87
	prime2      = 0xC2B2AE3D27D4EB4F
	prime3      = 0x165667B19E3779F9
	prime4      = 0x85EBCA77C2B2AE63
	prime5      = 0x27D4EB2F165667C5
)

var total uint64

// xxh64 is XXH64 with seed 0 for less than 32 bytes: an increment in decimal has 20 at most.
func xxh64(b []byte) uint64 {
	h := prime5 + uint64(len(b))
	for ; len(b) >= 8; b = b[8:] {
		h ^= bits.RotateLeft64(binary.LittleEndian.Uint64(b)*prime2, 31) * prime1
		h = bits.RotateLeft64(h, 27)*prime1 + prime4
	}
	if len(b) >= 4 {
		h ^= uint64(binary.LittleEndian.Uint32(b)) * prime1
		h = bits.RotateLeft64(h, 23)*prime2 + prime3
		b = b[4:]
	}
	for _, c := range b {
		h ^= uint64(c) * prime5
		h = bits.RotateLeft64(h, 11) * prime1
	}
	h = (h ^ h>>33) * prime2
	h = (h ^ h>>29) * prime3
	return h ^ h>>32
}

// add adds n, unless the total would pass its end.
func add(n uint64) (uint64, bool) {
	for {
		old := atomic.LoadUint64(&total)
		if old+n < old {
			return 0, false
		}
		if atomic.CompareAndSwapUint64(&total, old, old+n) {
			return old + n, true
		}
	}
}

func serve(c net.Conn, gather bool) {
	defer c.Close()
	in := bufio.NewReader(c)
	out := bufio.NewWriter(c)
	defer out.Flush()
	var request [requestSize]byte
	var reply [8]byte
	var digits [20]byte
	for {
		if _, err := io.ReadFull(in, request[:]); err != nil {
			return
		}
		n := binary.BigEndian.Uint64(request[:8])
		if xxh64(strconv.AppendUint(digits[:0], n, 10)) != binary.BigEndian.Uint64(request[8:]) {
			return
		}
		sum, ok := add(n)
		if !ok {
			return
		}
		binary.BigEndian.PutUint64(reply[:], sum)
		out.Write(reply[:])
		if gather && in.Buffered() >= requestSize {
			continue
		}
		if out.Flush() != nil {
			return
		}
	}
}

func main() {
	address := flag.String("listen", "127.0.0.1:9001", "address to listen on")
	answers := flag.String("answers", "single", "single or gathered")
	flag.Parse()
	l, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(c, *answers == "gathered")
	}
}
