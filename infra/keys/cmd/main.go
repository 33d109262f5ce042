// Command cmd makes, lists and revokes API keys: of this machine's storage, or with -stack NAME of a deployed stack.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"

	"mastralambda/infra/keys/stack"
	"mastralambda/infra/local"
)

func main() {
	name := flag.String("stack", "", "a deployed stack")
	flag.Parse()
	var err error
	if *name == "" {
		err = local.Keys(context.Background(), os.Getenv, os.Stdout, flag.Args())
	} else {
		err = stack.Keys(context.Background(), *name, os.Stdout, flag.Args())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "key:", strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(1)
	}
}
