// The echo of bus/1 as one would write it in Go: a goroutine a connection, buffered reads, the few bytes of
// protobuf that an echo is read by hand. With -answers=gathered the answers to all that has been read go in one write.
package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"flag"
	"io"
	"log"
	"net"
	"unicode/utf8"
)

const (
	echo       = 1<<3 | 2 // field 1, length-delimited: of the stream, and of the echo within
	maxMessage = 1 << 20
)

var errMessage = errors.New("not an echo")

// readEcho reads one message into body, which it makes larger if it has to, and gives the text in it.
func readEcho(in *bufio.Reader, body []byte) ([]byte, []byte, error) {
	tag, err := binary.ReadUvarint(in)
	if err != nil {
		return body, nil, err
	}
	size, err := binary.ReadUvarint(in)
	if err != nil {
		return body, nil, err
	}
	if tag != echo || size > maxMessage {
		return body, nil, errMessage
	}
	if uint64(cap(body)) < size {
		body = make([]byte, size)
	}
	body = body[:size]
	if _, err := io.ReadFull(in, body); err != nil {
		return body, nil, err
	}
	var text []byte
	for rest := body; len(rest) > 0; {
		tag, n := binary.Uvarint(rest)
		if n <= 0 || tag != echo {
			return body, nil, errMessage
		}
		size, m := binary.Uvarint(rest[n:])
		if m <= 0 || size > uint64(len(rest)-n-m) {
			return body, nil, errMessage
		}
		text = rest[n+m : n+m+int(size)]
		rest = rest[n+m+int(size):]
	}
	if !utf8.Valid(text) {
		return body, nil, errMessage
	}
	return body, text, nil
}

// appendEcho encodes one.
func appendEcho(to []byte, text []byte) []byte {
	var length [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(length[:], uint64(len(text)))
	to = append(to, echo)
	to = binary.AppendUvarint(to, uint64(1+n+len(text)))
	to = append(to, echo)
	to = append(to, length[:n]...)
	return append(to, text...)
}

func serve(c net.Conn, gather bool) {
	defer c.Close()
	in := bufio.NewReader(c)
	out := bufio.NewWriter(c)
	defer out.Flush()
	var body, answer, text []byte
	var err error
	for {
		if body, text, err = readEcho(in, body); err != nil {
			return
		}
		answer = appendEcho(answer[:0], text)
		out.Write(answer)
		if gather && in.Buffered() > 0 {
			continue
		}
		if out.Flush() != nil {
			return
		}
	}
}

func main() {
	address := flag.String("listen", "127.0.0.1:9002", "address to listen on")
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
