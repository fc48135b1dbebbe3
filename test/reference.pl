# docs/reference.md is what `make docs` writes, and docs/errors.tsv has the SQLSTATEs that the extension raises.
use strict;
use warnings;

my $test = 0;
my $failed = 0;

sub report
{
	my ($ok, $what, @why) = @_;
	$test++;
	print $ok ? "ok $test - $what\n" : "not ok $test - $what\n";
	$failed++ unless $ok;
	print map { "# $_\n" } @why if !$ok;
}

sub slurp
{
	my ($file) = @_;
	open(my $in, '<', $file) or die "$file: $!";
	local $/;
	return <$in> // '';
}

print "1..4\n";

my $made = "$ENV{DURABLE_TMP}/output/reference.md";
my $problems = `perl docs/reference.pl 2>&1 >$made`;
my $complete = $? == 0;
report($complete, 'every public object and column has a COMMENT, which names all parameters and known SQLSTATEs', split /\n/, $problems);
my $difference = $complete ? `diff -u docs/reference.md $made` : 'It could not be made.';
report($complete && $? == 0, 'docs/reference.md says what the COMMENTs say (after a change: make docs)', split /\n/, $difference);

# What each file of the source raises. A code that SQL both raises and handles reaches nobody.
my $headers = `$ENV{PG_CONFIG} --includedir-server`;
chomp $headers;
my %code;
foreach my $line (split /\n/, slurp("$headers/utils/errcodes.h") . slurp('src/common/model.h'))
{
	my ($name, $characters) = $line =~ /^#define (ERRCODE_\w+)\s+MAKE_SQLSTATE\((.*)\)/ or next;
	$code{$name} = join('', $characters =~ /'(.)'/g);
}
my (%raised, %handled);
foreach my $file (glob('src/*.[ch] src/*/*.[ch] src/sql/*.sql'))
{
	my $text = slurp($file);
	my @names = $text =~ /(?:errcode|failure_make)\(\s*(ERRCODE_\w+)/g;
	push @names, map { 'ERRCODE_' . uc } $text =~ /ERRCODE\s*=\s*'([a-z_]+)'/g;
	$raised{ $code{$_} // "$_ ($file)" } = 1 foreach @names;
	$raised{$_} = 1 foreach $text =~ /(?:ERRCODE\s*=\s*|RAISE SQLSTATE )'([0-9A-Z]{5})'/g;
	$handled{$_} = 1 foreach $text =~ /WHEN SQLSTATE '([0-9A-Z]{5})'/g;
}
delete @raised{ keys %handled };
my %listed = map { /^([0-9A-Z]{5})\t/ ? ($1 => 1) : () } split /\n/, slurp('docs/errors.tsv');
my @own = sort grep { /^ERRCODE_DURABLE_/ } keys %code;
my @wrong = ((grep { !$listed{ $code{$_} } } @own), (grep { my $own = $_; !grep { $code{$_} eq $own } @own } grep { /^OD/ } keys %listed));
report(!@wrong, 'docs/errors.tsv has the SQLSTATEs of src/common/model.h and no other of durable', sort @wrong);

# PostgreSQL raises the others that COMMENTs name.
my %named = map { uc($_) => 1 } slurp($complete ? $made : 'docs/reference.md') =~ /\]\(#([0-9a-z]{5})\)/g;
@wrong = ((grep { !$listed{$_} } keys %raised), (grep { !$raised{$_} && !$named{$_} } keys %listed));
report(!@wrong, 'docs/errors.tsv has the SQLSTATEs that the source raises, and no other but those that COMMENTs name', sort @wrong);

exit($failed ? 1 : 0);
