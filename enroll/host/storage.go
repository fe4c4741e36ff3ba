package host

// DirFacts are of a directory.
type DirFacts struct {
	Type   string `json:"type,omitempty"` // "", dir, link or other
	Mode   uint32 `json:"mode,omitempty"`
	Owner  string `json:"owner,omitempty"`
	Group  string `json:"group,omitempty"`
	ACL    string `json:"acl,omitempty"`    // of the storage: does its file system have ACLs? "ok", "none", "" not known
	Usable string `json:"usable,omitempty"` // of the storage: can tbot's user write there? "ok", "denied", "" not tried
}
