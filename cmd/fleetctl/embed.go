package main

import (
	"embed"
	"io/fs"
)

// The helpers that "make build" put there: identify-linux-ARCH.gz.
//
//go:embed helpers
var embedded embed.FS

// helperFiles returns the embedded helpers.
func helperFiles() fs.FS {
	sub, err := fs.Sub(embedded, "helpers")
	if err != nil {
		panic(err) // the directory is embedded, or this doesn't compile
	}
	return sub
}
