// Command fleetctl.
package main

func main() {}
