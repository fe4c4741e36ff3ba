package host

// UserFacts are of passwd and group.
type UserFacts struct {
	UID     int      `json:"uid"`
	Groups  []string `json:"groups,omitempty"`
	Comment string   `json:"comment,omitempty"`
}
