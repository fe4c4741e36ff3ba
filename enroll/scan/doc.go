// Package scan asks one host after another who its TPM is, and records the answers. What a TPM's answer is worth is package
// tpm's to say.
package scan
