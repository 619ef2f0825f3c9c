// Reads JSON with Go, as a tree or bound to structures that are made of the catalogue's shapes: a binder that takes
// names in any letter case.
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"sort"
	"strconv"
	"strings"
)

type shape struct {
	Type    string
	Fields  map[string]shape
	Element *shape
}

// All fields are pointers: what the body leaves out stays nil.
func (s shape) bound() reflect.Type {
	switch s.Type {
	case "object":
		names := make([]string, 0, len(s.Fields))
		for name := range s.Fields {
			names = append(names, name)
		}
		sort.Strings(names)
		fields := make([]reflect.StructField, len(names))
		for i, name := range names {
			tag := reflect.StructTag(fmt.Sprintf("json:%q", name+",omitempty"))
			fields[i] = reflect.StructField{Name: fmt.Sprintf("F%d", i), Type: reflect.PointerTo(s.Fields[name].bound()), Tag: tag}
		}
		return reflect.StructOf(fields)
	case "array":
		return reflect.SliceOf(s.Element.bound())
	case "text":
		return reflect.TypeOf("")
	case "integer":
		return reflect.TypeOf(int64(0))
	case "boolean":
		return reflect.TypeOf(false)
	}
	return reflect.TypeOf((*any)(nil)).Elem()
}

func read(body []byte, to any) string {
	if err := json.Unmarshal(body, to); err != nil {
		return "!" + strconv.QuoteToASCII(err.Error())
	}
	out, err := json.Marshal(to)
	if err != nil {
		return "!" + strconv.QuoteToASCII(err.Error())
	}
	return "=" + string(out)
}

func main() {
	text, err := os.ReadFile(os.Args[2])
	if err != nil {
		panic(err)
	}
	var shapes []shape
	if err := json.Unmarshal(text, &shapes); err != nil {
		panic(err)
	}
	types := make([]reflect.Type, len(shapes))
	for i, s := range shapes {
		types[i] = s.bound()
	}
	lines := bufio.NewReaderSize(os.Stdin, 1<<16)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		index, encoded, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		body, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			panic(err)
		}
		var to any = new(any)
		if os.Args[1] == "go-bind" {
			i, err := strconv.Atoi(index)
			if err != nil {
				panic(err)
			}
			to = reflect.New(types[i]).Interface()
		}
		fmt.Fprintln(out, read(body, to))
	}
}
