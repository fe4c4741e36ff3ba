package remote

// GOARCH maps what "uname -m" says to Go's name of the architecture; "" for one that fleetctl has no helper for. A
// 32-bit userland under a 64-bit kernel takes the kernel's: what is pushed is static.
func GOARCH(uname string) string {
	switch uname {
	case "x86_64", "amd64":
		return "amd64"
	case "aarch64", "arm64":
		return "arm64"
	case "armv6l", "armv7l", "armv8l":
		return "arm"
	case "i386", "i486", "i586", "i686":
		return "386"
	case "riscv64", "ppc64le", "s390x":
		return uname
	}
	return ""
}

// Architectures are the values of GOARCH.
func Architectures() []string {
	return []string{"amd64", "arm64", "arm", "386", "riscv64", "ppc64le", "s390x"}
}
