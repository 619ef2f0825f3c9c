package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// witness serves add-checkpoint of C2SP's tlog-witness for one log, until it is ended. It remembers what it has seen in
// memory alone. Its first line is the URL, the second its verifier key.
func witness(name, vkey string) error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	typed := append([]byte{4}, public...)
	id := sha256.Sum256(append([]byte(name+"\n"), typed...))
	fmt.Printf("http://%s\n%s+%08x+%s\n", listener.Addr(), name, binary.BigEndian.Uint32(id[:]), base64.StdEncoding.EncodeToString(typed))
	w := &witnessState{name: name, id: id[:4], key: private, vkey: vkey}
	http.HandleFunc("/add-checkpoint", w.addCheckpoint)
	return http.Serve(listener, nil)
}

type witnessState struct {
	mutex sync.Mutex
	name  string
	id    []byte
	key   ed25519.PrivateKey
	vkey  string
	seen  tlog.Tree
}

func (w *witnessState) addCheckpoint(answer http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(io.LimitReader(request.Body, 1<<20))
	if err != nil || request.Method != http.MethodPost {
		http.Error(answer, "a POST is wanted", http.StatusBadRequest)
		return
	}
	head, signed, found := strings.Cut(string(body), "\n\n")
	lines := strings.Split(head, "\n")
	old, err := strconv.ParseInt(strings.TrimPrefix(lines[0], "old "), 10, 64)
	if !found || err != nil || len(lines) > 64 {
		http.Error(answer, "no old size, or too many hashes", http.StatusBadRequest)
		return
	}
	var proof tlog.TreeProof
	for _, line := range lines[1:] {
		hash, err := decodeHash(line)
		if err != nil {
			http.Error(answer, err.Error(), http.StatusBadRequest)
			return
		}
		proof = append(proof, hash)
	}
	tree, _, err := openCheckpoint([]byte(signed), w.vkey)
	if err != nil {
		http.Error(answer, err.Error(), http.StatusForbidden)
		return
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	switch {
	case old > tree.N:
		http.Error(answer, "the old size is larger than the new one", http.StatusBadRequest)
		return
	case old != w.seen.N || old == tree.N && old > 0 && tree.Hash != w.seen.Hash:
		answer.Header().Set("Content-Type", "text/x.tlog.size")
		answer.WriteHeader(http.StatusConflict)
		fmt.Fprintf(answer, "%d\n", w.seen.N)
		return
	case old == 0 && len(proof) > 0, old == tree.N && len(proof) > 0:
		http.Error(answer, "there is nothing to prove", http.StatusUnprocessableEntity)
		return
	case old > 0 && old < tree.N:
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, old, w.seen.Hash); err != nil {
			http.Error(answer, err.Error(), http.StatusUnprocessableEntity)
			return
		}
	}
	w.seen = tree
	verifier, _ := note.NewVerifier(w.vkey)
	opened, _ := note.Open([]byte(signed), note.VerifierList(verifier))
	now := time.Now().Unix()
	signature := ed25519.Sign(w.key, []byte(fmt.Sprintf("cosignature/v1\ntime %d\n%s", now, opened.Text)))
	blob := append([]byte{}, w.id...)
	blob = binary.BigEndian.AppendUint64(blob, uint64(now))
	blob = append(blob, signature...)
	fmt.Fprintf(answer, "\u2014 %s %s\n", w.name, base64.StdEncoding.EncodeToString(blob))
}
