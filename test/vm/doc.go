// Package vm boots one virtual machine with a kernel of its own, so that a TPM is what it is on a real host: the kernel's
// driver (TIS or CRB), /dev/tpm0 and /dev/tpmrm0 with the kernel's resource manager, and a udevd that sets their
// permissions. QEMU emulates the processor, so that no KVM is needed, and swtpm the TPM. docs/lab.md describes it for
// people.
//
// The tests have the build tag vm: "make vm" runs them.
package vm
