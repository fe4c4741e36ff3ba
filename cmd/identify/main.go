// Command identify.
package main

func main() {}
