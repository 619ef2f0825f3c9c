package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/mod/sumdb/tlog"
)

// A manifest is manifest.json, as far as it is read here.
type manifest struct {
	Form           int
	Recorded       bool
	Exchanges      int
	Records        int
	Filter         any
	RecordsInTrail any      `json:"records_in_trail"`
	AnswersGone    []int64  `json:"answers_gone"`
	TextsNotKept   []string `json:"texts_not_kept"`
}

// A row of a pack: a record, where it stands, and what it says.
type record struct {
	seq  int64
	leaf []byte
	json map[string]any
}

// at is the text at a JSON pointer without its first slash; empty when there is none.
func (r *record) at(pointer string) string {
	text, _ := r.value(pointer).(string)
	return text
}

func (r *record) value(pointer string) any {
	if r == nil {
		return nil
	}
	var value any = r.json
	for _, step := range strings.Split(pointer, "/") {
		object, _ := value.(map[string]any)
		value = object[step]
	}
	return value
}

// checkPack checks an opened evidence pack: that each record is one of the log; that every file is the one that SHA256SUMS
// names, and SHA256SUMS the one that the record of the making names; bodies and policies by the records that commit to them;
// and that exchanges.csv says what the records say.
func checkPack(folder, vkey string) error {
	p := pack{folder: folder, vkey: vkey}
	for _, step := range []func() error{p.readRecords, p.checkSums, p.checkMaking, p.checkBodies, p.checkTexts, p.checkTable} {
		if err := step(); err != nil {
			return err
		}
	}
	if !p.manifest.Recorded {
		open := "no record of the log tells of the making of this pack: that none of its records was left out, and what was asked, rest on the word of whoever made it"
		if p.manifest.Form > 0 {
			return errors.New(open)
		}
		fmt.Println("NOT PROVED:", open)
	}
	return nil
}

type pack struct {
	folder, vkey string
	manifest     manifest
	records      []record
	digests      map[string]string
}

func (p *pack) read(name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(p.folder, filepath.FromSlash(name)))
}

func (p *pack) lines(name string) ([]string, error) {
	text, err := p.read(name)
	if err != nil || len(text) == 0 {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"), nil
}

// readRecords checks that each line of records.ndjson is the record of the log that the same line of records.csv says, by the
// proof in the same line of proofs/inclusion.ndjson.
func (p *pack) readRecords() error {
	signed, err := p.read("proofs/checkpoint")
	if err != nil {
		return err
	}
	tree, _, err := openCheckpoint(signed, p.vkey)
	if err != nil {
		return err
	}
	var lines [3][]string
	for i, name := range []string{"records.ndjson", "records.csv", "proofs/inclusion.ndjson"} {
		if lines[i], err = p.lines(name); err != nil {
			return err
		}
	}
	if len(lines[1]) == 0 {
		return errors.New("records.csv is empty")
	}
	leaves, rows, proofs := lines[0], lines[1][1:], lines[2]
	times := map[int64]string{}
	if len(leaves) != len(rows) || len(leaves) != len(proofs) {
		return fmt.Errorf("%d records, %d rows, %d proofs", len(leaves), len(rows), len(proofs))
	}
	for i, leaf := range leaves {
		var line struct {
			Record int64
			Hashes []string
		}
		if err := json.Unmarshal([]byte(proofs[i]), &line); err != nil {
			return fmt.Errorf("line %d: %w", i+1, err)
		}
		var proof tlog.RecordProof
		for _, text := range line.Hashes {
			hash, err := tlog.ParseHash(text)
			if err != nil {
				return fmt.Errorf("line %d: %w", i+1, err)
			}
			proof = append(proof, hash)
		}
		hash := tlog.RecordHash([]byte(leaf))
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, line.Record, hash); err != nil {
			return fmt.Errorf("line %d: %w", i+1, err)
		}
		one := record{seq: line.Record, leaf: []byte(leaf)}
		if err := json.Unmarshal(one.leaf, &one.json); err != nil {
			return fmt.Errorf("line %d: %w", i+1, err)
		}
		fields := strings.Split(strings.TrimSuffix(rows[i], "\r"), ",")
		if len(fields) != 6 {
			return fmt.Errorf("line %d of records.csv has %d fields", i+1, len(fields))
		}
		wanted := []string{strconv.Itoa(i + 1), strconv.FormatInt(one.seq, 10), one.at("id"), one.at("kind"), fields[4], hex.EncodeToString(hash[:])}
		if strings.Join(fields, ",") != strings.Join(wanted, ",") {
			return fmt.Errorf("line %d of records.csv is of another record", i+1)
		}
		p.records = append(p.records, one)
		times[one.seq] = fields[4]
	}
	// The trail's time of a record is the record's own, or, since it never goes back, that of the one before it.
	for _, one := range p.records {
		before, known := times[one.seq-1]
		if time := times[one.seq]; time < one.at("time") || (time != one.at("time") && known && time != before) {
			return fmt.Errorf("records.csv: the time of record %d is neither its own nor that of the record before it", one.seq)
		}
	}
	text, err := p.read("manifest.json")
	if err == nil {
		err = json.Unmarshal(text, &p.manifest)
	}
	if err == nil && p.manifest.Records != len(p.records) {
		err = fmt.Errorf("it says %d records, and there are %d", p.manifest.Records, len(p.records))
	}
	if err != nil {
		return fmt.Errorf("manifest.json: %w", err)
	}
	fmt.Printf("%d records stand in the log of %d\n", len(p.records), tree.N)
	return nil
}

// checkSums compares every file with SHA256SUMS, which names all but itself and the record of the making.
func (p *pack) checkSums() error {
	p.digests = map[string]string{}
	err := filepath.WalkDir(p.folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(p.folder, path)
		if err != nil {
			return err
		}
		if !entry.Type().IsRegular() {
			return fmt.Errorf("%s is no file", name)
		}
		bytes, err := os.ReadFile(path)
		sum := sha256.Sum256(bytes)
		p.digests[filepath.ToSlash(name)] = hex.EncodeToString(sum[:])
		return err
	})
	if err != nil {
		return err
	}
	sums, err := p.lines("SHA256SUMS")
	if err != nil {
		return err
	}
	named := map[string]bool{"SHA256SUMS": true}
	for _, line := range sums {
		sum, name, _ := strings.Cut(line, "  ")
		if named[name] || p.digests[name] != sum {
			return fmt.Errorf("%s is not the file that SHA256SUMS names, or not there", name)
		}
		named[name] = true
	}
	for name := range p.digests {
		if !named[name] && !(p.manifest.Recorded && strings.HasPrefix(name, "made/")) {
			return fmt.Errorf("%s is no file of this pack", name)
		}
	}
	for _, name := range []string{"report.html", "exchanges.csv", "records.csv", "bodies.ndjson", "README.txt", "proofs/inclusion.ndjson", "proofs/log.vkey"} {
		if !named[name] {
			return fmt.Errorf("%s is not there", name)
		}
	}
	fmt.Printf("%d files are those that SHA256SUMS names\n", len(sums))
	return nil
}

// checkMaking checks the record of the making: its proof, and that it is of this pack.
func (p *pack) checkMaking() error {
	if !p.manifest.Recorded {
		return nil
	}
	made, err := filepath.Glob(filepath.Join(p.folder, "made", "*"))
	if err != nil || len(made) != 2 || !strings.HasSuffix(made[1], ".tlog-proof") || strings.TrimSuffix(made[1], ".tlog-proof") != strings.TrimSuffix(made[0], ".json") {
		return errors.New("made: the record of the making of this pack is not there, or not with its proof alone")
	}
	if err := checkProof(made[1], p.vkey); err != nil {
		return fmt.Errorf("%s: %w", made[1], err)
	}
	var one record
	leaf, err := os.ReadFile(made[0])
	if err == nil {
		err = json.Unmarshal(leaf, &one.json)
	}
	if err != nil {
		return err
	}
	all := sha256.New()
	var first, last any
	for _, record := range p.records {
		all.Write(append(record.leaf, '\n'))
		seq := float64(record.seq)
		if first == nil || seq < first.(float64) {
			first = seq
		}
		if last == nil || seq > last.(float64) {
			last = seq
		}
	}
	for _, compared := range []struct {
		name        string
		told, found any
	}{
		{"kind", one.value("kind"), "event"},
		{"event", one.value("event"), "pack-made"},
		{"SHA256SUMS", one.value("detail/sums"), "sha256:" + p.digests["SHA256SUMS"]},
		{"number of records", one.value("detail/records/number"), float64(len(p.records))},
		{"first record", one.value("detail/records/first"), first},
		{"last record", one.value("detail/records/last"), last},
		{"records.ndjson", one.value("detail/records/sha256"), hex.EncodeToString(all.Sum(nil))},
		{"question", one.value("detail/filter"), p.manifest.Filter},
		{"records in the trail", one.value("detail/records_in_trail"), p.manifest.RecordsInTrail},
	} {
		told, _ := json.Marshal(compared.told)
		found, _ := json.Marshal(compared.found)
		if !bytes.Equal(told, found) {
			return fmt.Errorf("%s: the record of the making has %s, and the pack %s", compared.name, told, found)
		}
	}
	fmt.Println("it is the pack that its record tells of")
	return nil
}

// checkBodies checks each body against the record that commits to it.
func (p *pack) checkBodies() error {
	commits := map[int64]string{}
	for i := range p.records {
		commits[p.records[i].seq] = p.records[i].at("body/commit")
	}
	lines, err := p.lines("bodies.ndjson")
	if err != nil {
		return err
	}
	for i, line := range lines {
		var body struct {
			Record       int64
			Commit, Salt string
			Text, Hex    *string
		}
		if err := json.Unmarshal([]byte(line), &body); err != nil {
			return fmt.Errorf("bodies.ndjson, line %d: %w", i+1, err)
		}
		bytes, err := hex.DecodeString(body.Salt)
		if body.Text != nil {
			bytes = append(bytes, *body.Text...)
		} else if body.Hex != nil && err == nil {
			var more []byte
			more, err = hex.DecodeString(*body.Hex)
			bytes = append(bytes, more...)
		}
		if err != nil {
			return fmt.Errorf("bodies.ndjson, line %d: %w", i+1, err)
		}
		sum := sha256.Sum256(bytes)
		commit := "sha256:" + hex.EncodeToString(sum[:])
		if commits[body.Record] != commit || body.Commit != commit {
			return fmt.Errorf("bodies.ndjson, line %d: it is not the body that record %d commits to, or stands twice", i+1, body.Record)
		}
		delete(commits, body.Record)
	}
	fmt.Printf("%d bodies are those that their records commit to\n", len(lines))
	return nil
}

// checkTexts makes the hashes of policies and catalogues anew, by which records name them.
func (p *pack) checkTexts() error {
	wanted := map[string]bool{}
	for i := range p.records {
		for _, name := range []string{"decision/bundle", "decision/catalog", "detail/bundle", "detail/catalog"} {
			if hash := p.records[i].at(name); hash != "" {
				wanted[hash] = true
			}
		}
	}
	for _, hash := range p.manifest.TextsNotKept {
		delete(wanted, hash)
	}
	checked := 0
	for name := range p.digests {
		folder, file, _ := strings.Cut(name, "/")
		if (folder != "policies" && folder != "catalogue") || strings.Contains(file, "/") || !strings.HasSuffix(file, ".json") {
			continue
		}
		text, err := p.read(name)
		if err != nil {
			return err
		}
		hash, before, files, err := hashOfText(text)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if strings.HasPrefix(before, "sha256:"+strings.TrimSuffix(file, ".json")) {
			hash = before
		}
		digits := strings.TrimPrefix(hash, "sha256:")[:16]
		if file != digits+".json" {
			return fmt.Errorf("%s: its hash is %s", name, hash)
		}
		for base, text := range files {
			there, err := p.read(folder + "/" + digits + "/" + base)
			if err != nil || string(there) != text {
				return fmt.Errorf("%s/%s/%s is not the text that %s has (%v)", folder, digits, base, name, err)
			}
		}
		delete(wanted, hash)
		checked++
	}
	for hash := range wanted {
		return fmt.Errorf("the policies or the catalogue that records name by %s are not there", hash)
	}
	fmt.Printf("%d policies and catalogues hash to their names\n", checked)
	return nil
}

// hashOfText is the hash by which records name policies or a catalogue, the one by which older records name a catalogue, which is
// that of its texts alone, and the files of it by their names in the pack.
func hashOfText(text []byte) (string, string, map[string]string, error) {
	var one struct {
		Kind, Schema        string
		Policies, Documents [][2]string
		Patterns            *[2]string
		Groups              []string
	}
	if err := json.Unmarshal(text, &one); err != nil {
		return "", "", nil, err
	}
	hash, files, before := sha256.New(), map[string]string{}, ""
	framed := func(text string) {
		hash.Write(binary.BigEndian.AppendUint64(nil, uint64(len(text))))
		hash.Write([]byte(text))
	}
	add := func(name, text string) {
		files[sound(name)] += text
	}
	if one.Kind == "catalog" {
		hash.Write([]byte{0xff})
		joined := sha256.New()
		for _, document := range one.Documents {
			framed(document[0])
			framed(document[1])
			joined.Write([]byte(document[1]))
			add(document[0], document[1])
		}
		before = "sha256:" + hex.EncodeToString(joined.Sum(nil))
	} else {
		texts := []string{one.Schema}
		add("schema.cedarschema", one.Schema)
		if one.Patterns != nil {
			one.Policies = append(one.Policies, *one.Patterns)
		}
		for _, policy := range one.Policies {
			texts = append(texts, policy[1])
			add(policy[0], policy[1])
		}
		for _, text := range append(texts, one.Groups...) {
			framed(text)
		}
	}
	return "sha256:" + hex.EncodeToString(hash.Sum(nil)), before, files, nil
}

// sound is a file's name as it stands in a pack.
func sound(name string) string {
	name = strings.Map(func(c rune) rune {
		if c < unicode.MaxASCII && (unicode.IsLetter(c) || unicode.IsDigit(c) || strings.ContainsRune(".-_", c)) {
			return c
		}
		return '_'
	}, filepath.Base(name))
	if strings.Trim(name, ".") == "" {
		return "unnamed"
	}
	return name
}

// The columns of exchanges.csv that stand in a request's record as they are, with the places there.
var columns = map[string]string{
	"time": "time", "id": "id", "caller": "caller/name", "kind": "caller/kind", "assurance": "caller/assurance",
	"key_id": "caller/credential/key_id", "source": "source/address", "service": "call/service", "method": "call/method",
	"host": "call/host", "path": "call/path", "resource_type": "resource/type", "resource": "resource/id",
	"decision": "decision/verdict", "reason": "decision/reason", "message": "decision/message", "bundle": "decision/bundle",
}

// checkTable reads exchanges.csv again, and compares each row with the records that it names.
func (p *pack) checkTable() error {
	text, err := p.read("exchanges.csv")
	if err != nil {
		return err
	}
	reader := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(text, []byte("\ufeff"))))
	rows, err := reader.ReadAll()
	if err != nil || len(rows) == 0 {
		return fmt.Errorf("exchanges.csv: it has no rows (%v)", err)
	}
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	for _, name := range []string{"time", "id", "caller", "action", "decision", "policies", "outcome", "status", "detail", "groups", "request_record", "answer_record"} {
		if _, known := column[name]; !known {
			return fmt.Errorf("exchanges.csv has no column %s", name)
		}
	}
	gone := map[int64]bool{}
	for _, seq := range p.manifest.AnswersGone {
		gone[seq] = true
	}
	next := 0
	for n, row := range rows[1:] {
		// An answer whose request is gone has no row.
		for next < len(p.records) && p.records[next].at("kind") == "answer" {
			next++
		}
		if next == len(p.records) {
			return fmt.Errorf("exchanges.csv, row %d: there is no record of it", n+1)
		}
		request := &p.records[next]
		next++
		var answer *record
		if next < len(p.records) && p.records[next].at("kind") == "answer" && p.records[next].at("id") == request.at("id") {
			answer = &p.records[next]
			next++
		}
		for name, wanted := range wantedRow(request, answer, gone[request.seq]) {
			at, known := column[name]
			if known && row[at] != cell(wanted) {
				return fmt.Errorf("exchanges.csv, row %d: `%s` is `%s`, and the records say `%s`", n+1, name, row[at], cell(wanted))
			}
		}
	}
	for ; next < len(p.records); next++ {
		if p.records[next].at("kind") != "answer" {
			return fmt.Errorf("exchanges.csv has no row of record %d", p.records[next].seq)
		}
	}
	if p.manifest.Form > 0 || p.manifest.Exchanges > 0 {
		calls := 0
		for i := range p.records {
			if p.records[i].at("kind") == "request" {
				calls++
			}
		}
		if calls != p.manifest.Exchanges {
			return fmt.Errorf("manifest.json says %d exchanges, and the records are of %d", p.manifest.Exchanges, calls)
		}
	}
	fmt.Printf("%d rows of exchanges.csv say what the records say\n", len(rows)-1)
	return nil
}

func wantedRow(request, answer *record, gone bool) map[string]string {
	wanted := map[string]string{}
	for name, pointer := range columns {
		wanted[name] = request.at(pointer)
	}
	event := request.at("kind") == "event"
	wanted["action"] = request.at("call/action")
	if event {
		wanted["action"] = request.at("event")
	}
	wanted["groups"] = joined(request.value("caller/groups"), "")
	wanted["policies"] = joined(request.value("decision/policies"), "id")
	wanted["request_record"] = strconv.FormatInt(request.seq, 10)
	wanted["answer_record"], wanted["status"], wanted["detail"] = "", "", ""
	switch {
	case answer != nil:
		wanted["outcome"] = answer.at("outcome")
		wanted["answer_record"] = strconv.FormatInt(answer.seq, 10)
		wanted["detail"] = answer.at("detail")
		if status, is := answer.value("status").(float64); is {
			wanted["status"] = strconv.Itoa(int(status))
		}
	case event:
		wanted["outcome"] = "event"
	case request.at("decision/verdict") == "deny":
		wanted["outcome"] = "refused"
		// The status of a refusal follows from its reason, by keyward's own list.
		delete(wanted, "status")
	case gone:
		wanted["outcome"] = "unknown"
	default:
		wanted["outcome"] = "open"
	}
	return wanted
}

func joined(list any, name string) string {
	var texts []string
	elements, _ := list.([]any)
	for _, element := range elements {
		if object, is := element.(map[string]any); is {
			element = object[name]
		}
		if text, is := element.(string); is {
			texts = append(texts, text)
		}
	}
	return strings.Join(texts, " ")
}

// cell is a value as it stands in a spreadsheet: control characters, and those that turn the reading direction, are spelt
// out, and what would be a formula begins with an apostrophe.
func cell(value string) string {
	var out strings.Builder
	for _, c := range value {
		if unicode.IsControl(c) || c == 0x200e || c == 0x200f || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) {
			fmt.Fprintf(&out, "\\u{%x}", c)
		} else {
			out.WriteRune(c)
		}
	}
	text := out.String()
	if trimmed := strings.TrimLeftFunc(text, unicode.IsSpace); trimmed != "" && strings.ContainsRune("=+-@\uff1d\uff0b\uff0d\uff20", []rune(trimmed)[0]) {
		text = "'" + text
	}
	return text
}
