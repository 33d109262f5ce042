package dataapi_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/jackc/pgx/v5"

	"mastralambda/infra/migrations"
	"mastralambda/infra/migrations/dataapi"
	"mastralambda/infra/services"
	"mastralambda/infra/services/rdsdata"
	"mastralambda/shared/mastra"
	"mastralambda/shared/vectorstore/pgvector"
)

const cluster, secret = "arn:aws:rds:us-east-1:1:cluster:c", "arn:aws:secretsmanager:us-east-1:1:secret:s"

func aurora(t *testing.T) (*rdsdata.Server, aws.Config, dataapi.Cluster) {
	s := &rdsdata.Server{Postgres: services.Database(t), Cluster: cluster, Secret: secret}
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	return s, aws.Config{Region: "us-east-1", BaseEndpoint: &web.URL, Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")},
		dataapi.Cluster{ARN: cluster, Secret: secret, Database: "mastra", Pause: time.Millisecond}
}

// A cluster that wakes up is waited for; several deployments at once migrate it once; then the vector store works.
func TestMigrate(t *testing.T) {
	s, cfg, c := aurora(t)
	s.Sleep(5)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			if err := c.Migrate(t.Context(), cfg); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	conn, err := pgx.Connect(t.Context(), s.Postgres)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var applied int
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM public.mastralambda_migrations`).Scan(&applied); err != nil || applied == 0 {
		t.Errorf("%d migrations, %v", applied, err)
	}
	store, err := pgvector.Open(s.Postgres)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.CreateIndex(t.Context(), mastra.VectorIndex{Name: "docs", Dimension: 3}); err != nil {
		t.Error(err)
	}
	if err := c.Migrate(t.Context(), cfg); err != nil {
		t.Errorf("again: %v", err)
	}
}

func TestMigrateGivesUp(t *testing.T) {
	s, cfg, c := aurora(t)
	s.Sleep(1 << 30)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Migrate(ctx, cfg); err == nil || !strings.Contains(err.Error(), "resuming") {
		t.Errorf("a cluster that never wakes: %v", err)
	}
	c.Secret = "another"
	if err := c.Migrate(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("without rights: %v", err)
	}
}

// On RDS the vectors function signs in as a role of its own, through IAM. A transaction hides from other tests that this server
// has RDS's role for a moment.
func TestRoleOfTheFunction(t *testing.T) {
	conn, err := pgx.Connect(t.Context(), services.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), `CREATE ROLE rds_iam`); err != nil {
		t.Fatal(err)
	}
	err = migrations.Apply(t.Context(), func(ctx context.Context, do func(migrations.Exec) error) error {
		return do(func(ctx context.Context, statement string) (int64, error) {
			tag, err := tx.Exec(ctx, statement)
			return tag.RowsAffected(), err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	var iam, login, creates, reads bool
	var settings []string
	err = tx.QueryRow(t.Context(), `SELECT pg_has_role('mastra_vectors', 'rds_iam', 'member'), rolcanlogin, rolconfig,
		has_schema_privilege('mastra_vectors', 'mastralambda', 'CREATE'), has_table_privilege('mastra_vectors', 'mastralambda.vector_indexes', 'SELECT')
		FROM pg_roles WHERE rolname = 'mastra_vectors'`).Scan(&iam, &login, &settings, &creates, &reads)
	if err != nil || !iam || !login || !creates || !reads || !strings.Contains(strings.Join(settings, " "), "idle_session_timeout=60s") {
		t.Errorf("iam %t, login %t, creates %t, reads %t, %v, %v", iam, login, creates, reads, settings, err)
	}
}
