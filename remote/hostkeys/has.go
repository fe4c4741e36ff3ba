package hostkeys

// Has reports whether there is a line about a host: a key, or an authority for its certificates; names are those of HostNames. It
// hashes each name once a hashed line.
func (k *KnownHosts) Has(names []string) bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, name := range names {
		if len(k.all(name)) > 0 {
			return true
		}
	}
	return false
}
