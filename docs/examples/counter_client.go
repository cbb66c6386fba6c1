// counter/1 in Go, with nothing but its standard library: `go run counter_client.go`.
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"math/bits"
	"net"
	"strconv"
)

const (
	p1 uint64 = 0x9e3779b185ebca87
	p2 uint64 = 0xc2b2ae3d27d4eb4f
	p3 uint64 = 0x165667b19e3779f9
	p4 uint64 = 0x85ebca77c2b2ae63
	p5 uint64 = 0x27d4eb2f165667c5
)

// xxh64 is XXH64 with seed 0 of fewer than 32 bytes, which the at most 20 digits always are.
func xxh64(data []byte) uint64 {
	hash := p5 + uint64(len(data))
	for ; len(data) >= 8; data = data[8:] {
		lane := bits.RotateLeft64(binary.LittleEndian.Uint64(data)*p2, 31) * p1
		hash = bits.RotateLeft64(hash^lane, 27)*p1 + p4
	}
	if len(data) >= 4 {
		hash = bits.RotateLeft64(hash^uint64(binary.LittleEndian.Uint32(data))*p1, 23)*p2 + p3
		data = data[4:]
	}
	for _, b := range data {
		hash = bits.RotateLeft64(hash^uint64(b)*p5, 11) * p1
	}
	hash = (hash ^ hash>>33) * p2
	hash = (hash ^ hash>>29) * p3
	return hash ^ hash>>32
}

func request(increment uint64) []byte {
	frame := make([]byte, 16)
	binary.BigEndian.PutUint64(frame, increment)
	binary.BigEndian.PutUint64(frame[8:], xxh64([]byte(strconv.FormatUint(increment, 10))))
	return frame
}

func main() {
	connection, err := net.Dial("tcp", "127.0.0.1:8080")
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()

	increments := []uint64{1, 10, 255, 0} // 0 reads
	for _, increment := range increments { // all of them on their way at once
		if _, err := connection.Write(request(increment)); err != nil {
			log.Fatal(err)
		}
	}
	for range increments { // and the replies in the same order
		reply := make([]byte, 8)
		if _, err := io.ReadFull(connection, reply); err != nil {
			log.Fatal("closed: what was not answered may have counted or not: ", err)
		}
		fmt.Println(binary.BigEndian.Uint64(reply))
	}
}
