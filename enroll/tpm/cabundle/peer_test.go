package cabundle

import (
	"bytes"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// needOpenSSL skips a test where openssl is not installed, or fails it where CI says that everything is.
func needOpenSSL(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil && os.Getenv("CI") != "" {
		t.Fatal("openssl is not installed")
	}
	if err != nil {
		t.Skip("openssl is not installed")
	}
	return path
}

// ask returns the certificates that one way of asking openssl gives.
func ask(openssl string, data []byte, args ...string) string {
	cmd := exec.Command(openssl, args...)
	cmd.Stdin = bytes.NewReader(data)
	out, _ := cmd.Output() // what it could read up to an error counts
	var got string
	for {
		b, rest := pem.Decode(out)
		if b == nil {
			return got
		}
		if b.Type == "CERTIFICATE" {
			got += nameOf(b.Bytes)
		}
		out = rest
	}
}

func contains(all, some string) bool {
	for i := range len(some) {
		if !bytes.Contains([]byte(all), []byte{some[i]}) {
			return false
		}
	}
	return true
}

func TestReadFindsWhatOpenSSLFinds(t *testing.T) {
	openssl := needOpenSSL(t)
	for _, e := range examples(t) {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "bundle")
			if err := os.WriteFile(file, e.data, 0o600); err != nil {
				t.Fatal(err)
			}
			var most string
			for _, args := range [][]string{
				{"storeutl", "-certs", file},
				{"x509", "-in", file},
				{"x509", "-inform", "DER", "-in", file},
				{"pkcs7", "-print_certs", "-in", file},
				{"pkcs7", "-print_certs", "-inform", "DER", "-in", file},
			} {
				got := ask(openssl, nil, args...)
				if !contains(e.want, got) {
					t.Errorf("openssl %v reads %q, of which %q is read", args, got, e.want)
				}
				if len(got) > len(most) {
					most = got
				}
			}
			if e.openssl && most != e.want {
				t.Errorf("openssl reads %q, want %q", most, e.want)
			}
		})
	}
}

func TestReadReadsWhatOpenSSLWrites(t *testing.T) {
	openssl := needOpenSSL(t)
	_ = examples(t)
	a := filepath.Join(t.TempDir(), "a.pem")
	if err := os.WriteFile(a, []byte(block("CERTIFICATE", certificates['A'])), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"x509", "-text", "-in", a},
		{"x509", "-outform", "DER", "-in", a},
		{"x509", "-trustout", "-addtrust", "serverAuth", "-addreject", "emailProtection", "-setalias", "Acme", "-in", a},
		{"crl2pkcs7", "-nocrl", "-certfile", a},
		{"crl2pkcs7", "-nocrl", "-outform", "DER", "-certfile", a},
		{"storeutl", "-certs", a},
	} {
		out, err := exec.Command(openssl, args...).Output()
		if err != nil {
			t.Fatalf("openssl %v: %v", args, err)
		}
		parts := Read(out)
		if len(parts) != 1 || nameOf(parts[0].DER) != "A" {
			t.Errorf("openssl %v: got %+v", args, parts)
		}
	}
}
