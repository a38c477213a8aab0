// SPDX-License-Identifier: BSD-2-Clause

// gomemcache HOST:PORT asks what a Go program asks of its cache, through gomemcache. Prints a line
// a check; exits 1 if one failed.
package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

var failed bool

func check(name string, good bool) {
	if good {
		fmt.Println("ok", name)
	} else {
		fmt.Println("not ok", name)
		failed = true
	}
}

func main() {
	client := memcache.New(os.Args[1])
	client.Timeout = 10 * time.Second
	set := func(key, value string, ttl int32) error {
		return client.Set(&memcache.Item{Key: key, Value: []byte(value), Expiration: ttl})
	}
	is := func(key, value string) bool {
		item, err := client.Get(key)
		return err == nil && string(item.Value) == value
	}
	gone := func(key string) bool {
		_, err := client.Get(key)
		return err == memcache.ErrCacheMiss
	}

	check("set", set("text", "value", 0) == nil)
	check("get", is("text", "value"))
	check("get of an absent key", gone("absent"))
	flagged := &memcache.Item{Key: "flags", Value: []byte("x"), Flags: 4000000000}
	check("set with flags", client.Set(flagged) == nil)
	item, err := client.Get("flags")
	check("flags come back", err == nil && item.Flags == 4000000000)
	err = client.Add(&memcache.Item{Key: "text", Value: []byte("x")})
	check("add of a present key", err == memcache.ErrNotStored)
	err = client.Replace(&memcache.Item{Key: "absent", Value: []byte("x")})
	check("replace of an absent key", err == memcache.ErrNotStored)
	check("delete", client.Delete("text") == nil && gone("text"))
	check("delete of an absent key", client.Delete("absent") == memcache.ErrCacheMiss)

	var keys []string
	for i := 0; i < 500; i++ {
		key := fmt.Sprintf("many%d", i)
		keys = append(keys, key)
		if set(key, strings.Repeat(key, 20), 0) != nil {
			check("set of many", false)
		}
	}
	items, err := client.GetMulti(append(keys, "absent"))
	same := err == nil && len(items) == 500
	for _, key := range keys {
		same = same && string(items[key].Value) == strings.Repeat(key, 20)
	}
	check("multi-get", same)

	set("cas", "one", 0)
	item, _ = client.Get("cas")
	item.Value = []byte("two")
	check("cas", client.CompareAndSwap(item) == nil && is("cas", "two"))
	check("cas that lost", client.CompareAndSwap(item) == memcache.ErrCASConflict)

	set("count", "10", 0)
	number, err := client.Increment("count", 5)
	check("incr", err == nil && number == 15)
	number, err = client.Decrement("count", 20)
	check("decr", err == nil && number == 0)
	_, err = client.Increment("absent", 1)
	check("incr of an absent key", err == memcache.ErrCacheMiss)
	_, err = client.Increment("cas", 1)
	check("incr of no number", err != nil && strings.Contains(err.Error(), "non-numeric"))

	big := bytes.Repeat([]byte("0123456789"), 100000)
	check("set of 1 MB", client.Set(&memcache.Item{Key: "big", Value: big}) == nil)
	item, err = client.Get("big")
	check("get of 1 MB", err == nil && bytes.Equal(item.Value, big))
	huge := &memcache.Item{Key: "huge", Value: make([]byte, 1<<20)}
	check("a value that is too large", client.Set(huge) != nil)
	check("life goes on", is("cas", "two"))
	long := strings.Repeat("k", 250)
	check("a key of 250 bytes", set(long, "long", 0) == nil && is(long, "long"))
	check("a key of 251 bytes", set(long+"k", "x", 0) == memcache.ErrMalformedKey)
	check("an odd key", set("~!#$%^&*(){}", "odd", 0) == nil && is("~!#$%^&*(){}", "odd"))
	check("an empty value", set("empty", "", 0) == nil && is("empty", ""))

	set("short", "x", 1)
	set("kept", "x", 100)
	set("touched", "x", 0)
	check("touch", client.Touch("touched", 1) == nil)
	time.Sleep(2 * time.Second)
	check("a TTL ends", gone("short") && gone("touched"))
	check("a TTL lasts", is("kept", "x"))
	check("flush_all", client.DeleteAll() == nil && gone("kept"))
	if failed {
		os.Exit(1)
	}
}
