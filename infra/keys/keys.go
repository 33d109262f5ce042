// Package keys makes, lists and revokes API keys.
package keys

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/server"
)

// Run does what args say: add [-name N] [-resource R] [-permissions a,b] [-tenant T], list, revoke ID.
func Run(ctx context.Context, store mastra.KeyStore, out io.Writer, args []string) error {
	usage := errors.New("usage: key add [-name N] [-resource R] [-permissions a,b] [-tenant T] | list | revoke ID")
	if len(args) == 0 {
		return usage
	}
	switch args[0] {
	case "add":
		return add(ctx, store, out, args[1:])
	case "list":
		return list(ctx, store, out)
	case "revoke":
		if len(args) != 2 {
			return usage
		}
		if err := store.RevokeAPIKey(ctx, args[1]); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s is revoked\n", args[1])
		return nil
	}
	return usage
}

func add(ctx context.Context, store mastra.KeyStore, out io.Writer, args []string) error {
	flags := flag.NewFlagSet("key add", flag.ContinueOnError)
	name := flags.String("name", "", "what the key is for")
	resource := flags.String("resource", "", "the only resource that it may touch")
	permissions := flags.String("permissions", "", "what it may do, comma-separated: agents:execute, memory:*")
	tenant := flags.String("tenant", "", "whose data it works on")
	if err := flags.Parse(args); err != nil {
		return err
	}
	p := mastra.Principal{Resource: *resource, Tenant: *tenant}
	if *permissions != "" {
		p.Permissions = strings.Split(*permissions, ",")
	}
	secret, key := server.NewKey(*name, p, mastra.TimeOf(time.Now()))
	if err := store.AddAPIKey(ctx, key); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s\nThis key (id %s) is shown once; only its hash is kept.\n", secret, key.ID)
	return nil
}

func list(ctx context.Context, store mastra.KeyStore, out io.Writer) error {
	keys, err := store.APIKeys(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tRESOURCE\tPERMISSIONS\tMADE")
	for _, k := range keys {
		permissions := "all"
		if k.Principal.Permissions != nil {
			permissions = strings.Join(k.Principal.Permissions, ",")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", k.ID, k.Name, k.Principal.Resource, permissions, k.CreatedAt)
	}
	return w.Flush()
}
