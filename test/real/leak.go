// A Go server that keeps three connections whose clients have gone, and never accepts from its second listener.
package main

import (
	"fmt"
	"net"
	"os"
	"time"
)

var kept []net.Conn

func comeAndGo(to string) {
	conn, err := net.Dial("tcp", to)
	if err != nil {
		panic(err)
	}
	conn.Write([]byte("hello"))
	conn.Close()
}

func serve(listener net.Listener, n int, ready chan<- bool) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		bytes := make([]byte, 5)
		conn.Read(bytes)
		kept = append(kept, conn)
		if len(kept) == n {
			ready <- true
		}
	}
}

func spin() {
	for i := 0; ; i++ {
		if i < 0 {
			fmt.Println(i)
		}
	}
}

func main() {
	served, _ := net.Listen("tcp", "127.0.0.1:0")
	forgotten, _ := net.Listen("tcp", "127.0.0.1:0")
	ready := make(chan bool)
	go serve(served, 3, ready)
	for i := 0; i < 3; i++ {
		comeAndGo(served.Addr().String())
	}
	for i := 0; i < 2; i++ {
		comeAndGo(forgotten.Addr().String())
	}
	<-ready
	if len(os.Args) > 1 && os.Args[1] == "spin" {
		go spin()
	}
	fmt.Println(os.Getpid())
	time.Sleep(time.Hour)
}
