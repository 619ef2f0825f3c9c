// Logs each request that Go's net/http reads: `go ADDRESS LOG`.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
)

func main() {
	log, err := os.OpenFile(os.Args[2], os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		panic(err)
	}
	var one sync.Mutex
	// Not through the multiplexer, which cleans paths and redirects.
	panic(http.ListenAndServe(os.Args[1], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		one.Lock()
		defer one.Unlock()
		fmt.Fprintf(log, "%x %x %x %x %x %x %x\n", r.Method, r.RequestURI, r.URL.Path, r.URL.RawQuery, r.Host, r.Header.Get("X-Case"), body)
		io.WriteString(w, "{}")
	})))
}
