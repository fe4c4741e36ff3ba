package host

import "fleetctl/enroll/config"

// FileSet are the files that a plan may write, by path.
type FileSet map[string]FileFacts

// FileFacts are of one file. A file that isn't there is not in the set.
type FileFacts struct {
	Type    string `json:"type"` // file, link, dir or other
	Mode    uint32 `json:"mode,omitempty"`
	Owner   string `json:"owner,omitempty"`
	Group   string `json:"group,omitempty"`
	Size    int64  `json:"size,omitempty"`
	Content string `json:"content,omitempty"` // of a regular file up to 64 KiB; "" of a larger one
}

// cleanPath says whether a host's path is one that we handle.
func cleanPath(p string) bool { return config.Path(p).Check() == nil }
