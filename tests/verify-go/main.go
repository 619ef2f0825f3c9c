// Checks what a keyward gateway signs with Go's own packages for transparency logs, golang.org/x/mod/sumdb/note and tlog:
// none of keyward's code, and none that keyward uses.
//
//	verify-go log SOURCE VKEY                    every record is the one that the checkpoint was signed over
//	verify-go grown SOURCE VKEY CHECKPOINT       the log grows from a checkpoint that was kept before
//	verify-go proof FOLDER VKEY                  a folder that `keyward audit prove` has written
//	verify-go pack FOLDER VKEY                   an opened evidence pack of `keyward audit pack`
//	verify-go copy URL FOLDER                    copies a log into a folder, which then is a SOURCE
//	verify-go witness NAME VKEY                  runs a witness for the log on a free port of 127.0.0.1
//
// SOURCE is a folder or a URL with checkpoint and tile/… below it, as C2SP's tlog-tiles lays them out. The exit status is 0
// when all is well, else 1, and standard error says what is not.
//
// Build it with Debian's golang-go and golang-golang-x-mod-dev:
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go build -o verify-go .
package main

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const width = 256

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "verify-go:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	commands := map[string]struct {
		arguments int
		run       func([]string) error
	}{
		"log":     {2, func(a []string) error { return checkLog(source(a[0]), a[1]) }},
		"grown":   {3, func(a []string) error { return checkGrown(source(a[0]), a[1], a[2]) }},
		"proof":   {2, func(a []string) error { return checkProofs(a[0], a[1]) }},
		"pack":    {2, func(a []string) error { return checkPack(a[0], a[1]) }},
		"copy":    {2, func(a []string) error { return copyLog(source(a[0]), a[1]) }},
		"witness": {2, func(a []string) error { return witness(a[0], a[1]) }},
	}
	if len(args) > 0 {
		if command, known := commands[args[0]]; known && len(args) == command.arguments+1 {
			return command.run(args[1:])
		}
	}
	return errors.New("give log, grown, proof, pack, copy or witness, and what each needs: see the head of main.go")
}

// A source gives the bytes of a path such as "checkpoint" or "tile/0/000".
type source string

func (s source) get(path string) ([]byte, error) {
	if !strings.HasPrefix(string(s), "http://") {
		return os.ReadFile(filepath.Join(string(s), path))
	}
	answer, err := http.Get(strings.TrimSuffix(string(s), "/") + "/" + path)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	bytes, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, answer.Status)
	}
	return bytes, err
}

// openCheckpoint reads a signed checkpoint: C2SP tlog-checkpoint.
func openCheckpoint(signed []byte, vkey string) (tlog.Tree, string, error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return tlog.Tree{}, "", err
	}
	opened, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, "", fmt.Errorf("checkpoint: %w", err)
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, "", errors.New("checkpoint: it is not of this log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, "", fmt.Errorf("checkpoint: %w", err)
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, lines[0], err
}

func readCheckpoint(s source, vkey string) (tlog.Tree, error) {
	signed, err := s.get("checkpoint")
	if err != nil {
		return tlog.Tree{}, err
	}
	tree, _, err := openCheckpoint(signed, vkey)
	return tree, err
}

// tilePath is C2SP's: without the height, and with entries for records.
func tilePath(tile tlog.Tile) string {
	path := strings.TrimPrefix(tile.Path(), "tile/8/")
	return "tile/" + strings.Replace(path, "data/", "entries/", 1)
}

// tiles lets tlog fetch and authenticate tiles.
type tiles struct{ source }

func (t tiles) Height() int { return 8 }

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var read [][]byte
	for _, tile := range wanted {
		bytes, err := t.get(tilePath(tile))
		if err != nil {
			return nil, err
		}
		read = append(read, bytes)
	}
	return read, nil
}

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

// stored are the hashes of a tree that is computed from its records.
type stored []tlog.Hash

func (s stored) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var read []tlog.Hash
	for _, index := range indexes {
		read = append(read, s[index])
	}
	return read, nil
}

func entryTile(n, size int64) tlog.Tile {
	tile := tlog.Tile{H: 8, L: -1, N: n, W: width}
	if left := size - n*width; left < width {
		tile.W = int(left)
	}
	return tile
}

// entries are the records of a bundle, each after its length in 16 bits.
func entries(bundle []byte) ([][]byte, error) {
	var found [][]byte
	for len(bundle) > 0 {
		if len(bundle) < 2 || len(bundle)-2 < int(binary.BigEndian.Uint16(bundle)) {
			return nil, errors.New("a bundle of records is cut")
		}
		end := 2 + int(binary.BigEndian.Uint16(bundle))
		found = append(found, bundle[2:end])
		bundle = bundle[end:]
	}
	return found, nil
}

// A gap is what the log says of records that are gone. Their hashes stay in its tiles, and must lead to the signed root.
type gap struct{ First, Last int64 }

// gaps are the lines of absent/ranges, which is keyward's own; a log of which all is there may be without it.
func gaps(s source) ([]gap, error) {
	text, err := s.get("absent/ranges")
	if err != nil {
		return nil, nil
	}
	var found []gap
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		var one gap
		if line == "" {
			continue
		}
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			return nil, fmt.Errorf("absent/ranges: %w", err)
		}
		found = append(found, one)
	}
	return found, nil
}

// touch tells whether a gap has one of the records from first to last.
func touch(all []gap, first, last int64) bool {
	for _, one := range all {
		if one.First <= last && one.Last >= first {
			return true
		}
	}
	return false
}

// bundle reads the records of a tile; those that are gone are nil.
func bundle(s source, tile tlog.Tile, gone []gap) ([][]byte, error) {
	first := tile.N * width
	bytes, err := s.get(tilePath(tile))
	if err == nil {
		return entries(bytes)
	}
	if !touch(gone, first, first+int64(tile.W)-1) {
		return nil, err
	}
	left, err := s.get("absent/" + tilePath(tile))
	if err != nil {
		return nil, err
	}
	records := make([][]byte, tile.W)
	for _, text := range strings.Split(strings.TrimSpace(string(left)), "\n") {
		var line struct {
			Seq  int64
			Leaf string
		}
		if text == "" {
			continue
		}
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			return nil, err
		}
		record, err := hex.DecodeString(line.Leaf)
		if err != nil {
			return nil, err
		}
		if line.Seq < first || line.Seq >= first+int64(tile.W) {
			return nil, fmt.Errorf("record %d is not of it", line.Seq)
		}
		records[line.Seq-first] = record
	}
	for i, record := range records {
		at := first + int64(i)
		if record == nil && !touch(gone, at, at) {
			return nil, fmt.Errorf("record %d is missing", at)
		}
	}
	return records, nil
}

func checkLog(s source, vkey string) error {
	tree, err := readCheckpoint(s, vkey)
	if err != nil {
		return err
	}
	gone, err := gaps(s)
	if err != nil {
		return err
	}
	var hashes stored
	var wrong []string
	absent := 0
	for n := int64(0); n*width < tree.N; n++ {
		tile := entryTile(n, tree.N)
		records, err := bundle(s, tile, gone)
		if err != nil {
			return fmt.Errorf("bundle %d: %w", n, err)
		}
		level := tile
		level.L = 0
		leaves, err := s.get(tilePath(level))
		if err != nil {
			return fmt.Errorf("tile %d: %w", n, err)
		}
		if len(records) != tile.W {
			first := 0
			for first < len(records) && first < tile.W && isAt(records[first], leaves, first) {
				first++
			}
			return fmt.Errorf("bundle %d has %d records, the checkpoint covers %d of it: from record %d on", n, len(records), tile.W, n*width+int64(first))
		}
		for i, record := range records {
			at := n*width + int64(i)
			hash := tlog.RecordHash(record)
			if record == nil && len(leaves) >= (i+1)*tlog.HashSize {
				absent++
				copy(hash[:], leaves[i*tlog.HashSize:])
			} else if !isAt(record, leaves, i) {
				wrong = append(wrong, strconv.FormatInt(at, 10))
			}
			more, err := tlog.StoredHashesForRecordHash(at, hash, hashes)
			if err != nil {
				return err
			}
			hashes = append(hashes, more...)
		}
	}
	root, err := tlog.TreeHash(tree.N, hashes)
	if err != nil {
		return err
	}
	if root != tree.Hash {
		return fmt.Errorf("the records are not those that were signed; by its hash these differ: %s", strings.Join(wrong, " "))
	}
	if len(wrong) > 0 {
		return fmt.Errorf("the records are those that were signed, but tiles have other hashes of: %s", strings.Join(wrong, " "))
	}
	// Each record once more, by a proof from tiles that tlog authenticates.
	reader := tlog.TileHashReader(tree, tiles{s})
	for at := int64(0); at < tree.N; at += 1 + tree.N/64 {
		proof, err := tlog.ProveRecord(tree.N, at, reader)
		if err != nil {
			return fmt.Errorf("record %d: %w", at, err)
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, at, hashes[tlog.StoredHashIndex(0, at)]); err != nil {
			return fmt.Errorf("record %d: %w", at, err)
		}
	}
	fmt.Printf("%d records are those that %s was signed over\n", tree.N-int64(absent), tree.Hash)
	if absent > 0 {
		fmt.Printf("%d records are gone; their hashes are those that it was signed over\n", absent)
	}
	return nil
}

// isAt tells whether the tile has the hash of the record at this place.
func isAt(record, leaves []byte, place int) bool {
	hash := tlog.RecordHash(record)
	end := (place + 1) * tlog.HashSize
	return len(leaves) >= end && string(leaves[place*tlog.HashSize:end]) == string(hash[:])
}

func checkGrown(s source, vkey, file string) error {
	kept, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	old, _, err := openCheckpoint(kept, vkey)
	if err != nil {
		return err
	}
	tree, err := readCheckpoint(s, vkey)
	if err != nil {
		return err
	}
	if tree.N < old.N {
		return fmt.Errorf("the log has %d records, it had %d: the last ones are missing", tree.N, old.N)
	}
	if tree.N == old.N {
		if tree.Hash != old.Hash {
			return errors.New("the log is not the one that it was")
		}
		fmt.Println("nothing has come since")
		return nil
	}
	proof, err := tlog.ProveTree(tree.N, old.N, tlog.TileHashReader(tree, tiles{s}))
	if err != nil {
		return err
	}
	if err := tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash); err != nil {
		return fmt.Errorf("the log does not grow from what it was: %w", err)
	}
	fmt.Printf("%d records have come to the %d\n", tree.N-old.N, old.N)
	return nil
}

// checkProofs checks every record-N.tlog-proof of a folder: C2SP tlog-proof.
func checkProofs(folder, vkey string) error {
	files, err := filepath.Glob(filepath.Join(folder, "record-*.tlog-proof"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("%s: there is no proof (%v)", folder, err)
	}
	for _, file := range files {
		if err := checkProof(file, vkey); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

func checkProof(file, vkey string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	record, err := os.ReadFile(strings.TrimSuffix(file, ".tlog-proof") + ".json")
	if err != nil {
		return err
	}
	head, signed, found := strings.Cut(string(text), "\n\n")
	lines := strings.Split(head, "\n")
	if !found || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return errors.New("this is no proof")
	}
	at, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	if err != nil {
		return err
	}
	var proof tlog.RecordProof
	for _, line := range lines[2:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		proof = append(proof, hash)
	}
	tree, _, err := openCheckpoint([]byte(signed), vkey)
	if err != nil {
		return err
	}
	if err := tlog.CheckRecord(proof, tree.N, tree.Hash, at, tlog.RecordHash(record)); err != nil {
		return err
	}
	fmt.Printf("%s is record %d of %d\n", filepath.Base(file), at, tree.N)
	return nil
}

// copyLog copies checkpoint, tiles and records. It trusts nothing and checks nothing: that is for later.
func copyLog(s source, folder string) error {
	signed, err := s.get("checkpoint")
	if err != nil {
		return err
	}
	lines := strings.Split(string(signed), "\n")
	if len(lines) < 2 {
		return errors.New("this is no checkpoint")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return err
	}
	paths := []string{}
	for n := int64(0); n*width < size; n++ {
		paths = append(paths, tilePath(entryTile(n, size)))
	}
	for _, tile := range tlog.NewTiles(8, 0, size) {
		paths = append(paths, tilePath(tile))
	}
	if ranges, err := s.get("absent/ranges"); err == nil && len(ranges) > 0 {
		if err := write(filepath.Join(folder, "absent/ranges"), ranges); err != nil {
			return err
		}
	}
	for _, path := range paths {
		bytes, err := s.get(path)
		if err != nil && strings.HasPrefix(path, "tile/entries/") {
			// Gone, all of it or in part: what is left of it stands there.
			path = "absent/" + path
			bytes, err = s.get(path)
		}
		if err != nil {
			return err
		}
		if err := write(filepath.Join(folder, path), bytes); err != nil {
			return err
		}
	}
	return write(filepath.Join(folder, "checkpoint"), signed)
}

func write(path string, bytes []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	return os.WriteFile(path, bytes, 0o666)
}

func decodeHash(line string) (tlog.Hash, error) {
	var hash tlog.Hash
	bytes, err := base64.StdEncoding.DecodeString(line)
	if err != nil || len(bytes) != tlog.HashSize {
		return hash, errors.New("this is no hash")
	}
	copy(hash[:], bytes)
	return hash, nil
}
