package rds

import (
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/jackc/pgx/v5"
)

func TestIs(t *testing.T) {
	for text, want := range map[string]bool{
		"postgres://mastra_vectors@c.cluster-x.eu-west-1.rds.amazonaws.com:5432/mastra": true,
		"postgres://a:secret@c.cluster-x.eu-west-1.rds.amazonaws.com/mastra":            false,
		"postgres://a@localhost/mastra":                                                 false,
		"postgres://c.cluster-x.eu-west-1.rds.amazonaws.com/mastra":                     false,
		"postgres://a@rds.amazonaws.com.evil.example/mastra":                            false,
	} {
		if Is(text) != want {
			t.Errorf("%s: %t", text, !want)
		}
	}
}

// Each connection has a token for its host, port and user, and trusts the region's authorities for the host's name alone.
func TestSignIn(t *testing.T) {
	c, err := pgx.ParseConfig("postgres://mastra_vectors@c.cluster-x.eu-west-1.rds.amazonaws.com:5432/mastra?sslmode=verify-full")
	if err != nil {
		t.Fatal(err)
	}
	sign := SignIn(aws.Config{Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("id", "secret", "session")})
	if err := sign(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	token, err := url.Parse("https://" + c.Password)
	q := token.Query()
	if err != nil || token.Host != "c.cluster-x.eu-west-1.rds.amazonaws.com:5432" || q.Get("Action") != "connect" || q.Get("DBUser") != "mastra_vectors" ||
		!strings.Contains(q.Get("X-Amz-Credential"), "/eu-west-1/rds-db/") || q.Get("X-Amz-Signature") == "" || q.Get("X-Amz-Security-Token") != "session" {
		t.Errorf("%s, %v", c.Password, err)
	}
	if tls := c.TLSConfig; tls.InsecureSkipVerify || tls.ServerName != c.Host || tls.RootCAs == nil || len(c.Fallbacks) > 0 {
		t.Errorf("%+v", c.TLSConfig)
	}
	c.Host = "c.cluster-x.mars-north-1.rds.amazonaws.com"
	if err := sign(t.Context(), c); err == nil || !strings.Contains(err.Error(), "mars-north-1") {
		t.Errorf("a region without authorities: %v", err)
	}
}

// What is embedded are roots of RDS, three a region, good for years.
func TestAuthorities(t *testing.T) {
	regions := map[string]int{}
	region := ""
	for part := range strings.SplitSeq(ca, "# ") {
		name, certificates, _ := strings.Cut(part, "\n")
		region = name
		for rest := []byte(certificates); ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil || !c.IsCA || c.CheckSignatureFrom(c) != nil || !strings.HasPrefix(c.Subject.CommonName, "Amazon RDS "+region+" Root CA ") || c.NotAfter.Before(time.Now().AddDate(5, 0, 0)) {
				t.Errorf("%s: %v, %v", region, c.Subject, err)
			}
			regions[region]++
		}
	}
	for region, n := range regions {
		if n != 3 {
			t.Errorf("%s has %d", region, n)
		}
		if _, err := authorities(region); err != nil {
			t.Error(err)
		}
	}
	if len(regions) < 20 || regions["us-east-1"] == 0 {
		t.Errorf("%d regions", len(regions))
	}
}
